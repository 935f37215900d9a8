// Preloaded into a program, lets its wall clock jump: by an hour forth and back, every 0.1 s. Other clocks are left alone.
#define _GNU_SOURCE
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t clock, struct timespec* now) {
    int result = (int)syscall(SYS_clock_gettime, clock, now);
    if (clock == CLOCK_REALTIME && result == 0 && now->tv_nsec / 100000000 % 2 == 1) now->tv_sec -= 3600;
    return result;
}
