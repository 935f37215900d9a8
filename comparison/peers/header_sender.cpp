// A sender that knows the 24-byte header and nothing else, the way people write them; stamped and timed as src/frame.rs and
// src/role.rs do it. Arguments: RUN WIDTH HEIGHT HZ busy|asleep.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <random>
#include <string>
#include <vector>

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#pragma pack(push, 1)
struct FrameHeader {
    int32_t width;
    int32_t height;
    int32_t channels;
    int64_t timestamp_ms;
    int32_t frame_valid;
};
#pragma pack(pop)
static_assert(sizeof(FrameHeader) == 24, "packed");

static uint64_t clock_ns(clockid_t id) {
    timespec time;
    clock_gettime(id, &time);
    return uint64_t(time.tv_sec) * 1'000'000'000 + time.tv_nsec;
}

static void send(uint8_t* memory, const std::vector<uint64_t>& frame, int width, int height) {
    auto* header = reinterpret_cast<volatile FrameHeader*>(memory);
    header->frame_valid = 0;
    header->width = width;
    header->height = height;
    header->channels = 3;
    header->timestamp_ms = std::chrono::duration_cast<std::chrono::milliseconds>(
                               std::chrono::system_clock::now().time_since_epoch())
                               .count();
    std::memcpy(memory + sizeof(FrameHeader), frame.data(), frame.size() * 8);
    std::atomic_thread_fence(std::memory_order_seq_cst);
    header->frame_valid = 1;
}

int main(int argc, char** argv) {
    if (argc != 6) return 2;
    const std::string name = std::string("/") + argv[1];
    const int width = std::atoi(argv[2]), height = std::atoi(argv[3]), hz = std::atoi(argv[4]);
    const size_t bytes = size_t(width) * height * 3, words = bytes / 8;

    shm_unlink(name.c_str());
    const int fd = shm_open(name.c_str(), O_CREAT | O_RDWR, 0600);
    const size_t size = sizeof(FrameHeader) + bytes;
    if (fd < 0 || posix_fallocate(fd, 0, off_t(size)) != 0) return 1;
    void* mapped = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (mapped == MAP_FAILED) return 1;

    std::vector<size_t> marks{0};
    for (size_t i = 1; i < 16; ++i) marks.push_back(3 + i * (words - 4) / 15);
    std::vector<uint64_t> buffers[2];
    uint64_t noise[2] = {};
    for (int i = 0; i < 2; ++i) {
        std::mt19937_64 random(i);
        buffers[i].resize(words);
        std::generate(buffers[i].begin(), buffers[i].end(), random);
        for (size_t mark : marks) buffers[i][mark] = 0;
        for (size_t at = 3; at < words; ++at) noise[i] += buffers[i][at];
    }

    uint64_t begin, count, end;
    std::puts("ready");
    std::fflush(stdout);
    if (std::scanf("%" SCNu64 " %" SCNu64 " %" SCNu64, &begin, &count, &end) != 3) return 1;
    std::vector<uint64_t> published;
    uint64_t cpu = clock_ns(CLOCK_PROCESS_CPUTIME_ID), number = 0;
    for (uint64_t due = begin; due < end;) {
        const timespec time{time_t(due / 1'000'000'000), long(due % 1'000'000'000)};
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &time, nullptr);
        auto& frame = buffers[++number % 2];
        for (size_t mark : marks) frame[mark] = number;
        frame[2] = noise[number % 2] + number * (marks.size() - 1);
        const uint64_t stamp = frame[1] = clock_ns(CLOCK_MONOTONIC);
        send(static_cast<uint8_t*>(mapped), frame, width, height);
        if (stamp >= count) {
            published.push_back(clock_ns(CLOCK_MONOTONIC) - stamp);
        } else {
            cpu = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
        }
        due = hz > 0 ? due + 1'000'000'000 / hz : clock_ns(CLOCK_MONOTONIC);
    }
    cpu = clock_ns(CLOCK_PROCESS_CPUTIME_ID) - cpu;
    std::printf("{\"cpu\":%" PRIu64 ",\"published\":[", cpu);
    for (size_t i = 0; i < published.size(); ++i) std::printf("%s%" PRIu64, i ? "," : "", published[i]);
    std::puts("]}");
    std::fflush(stdout);
    // Until the others are done, too.
    while (std::getchar() != EOF) {
    }
    shm_unlink(name.c_str());
}
