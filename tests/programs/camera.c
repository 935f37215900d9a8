// A camera for machines without one: loaded with LD_PRELOAD, it makes of /dev/zero, or of the file that CAMERA_AT names, a V4L2
// device, as far as OpenCV and --camera list ask one. Its pictures are a second old when it gives them.
//
// It has two formats: YUYV, 640x480 at 30 frames/s or 1280x720 at 10, every frame of one gray that changes; and MJPG, 1280x720
// at 30, the JPEG that CAMERA_JPEG names. After CAMERA_STALLS or CAMERA_UNPLUGGED frames it gives no more, or is gone.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/videodev2.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

enum { BUFFERS = 8, SIZE = 1280 * 720 * 2 };

// Readable whenever a frame is due, so that poll and select need no help.
static int camera = -1;
static uint32_t format = V4L2_PIX_FMT_YUYV, width = 640, height = 480, fps = 30, buffers;
static uint8_t *memory[BUFFERS];
// Buffers that may be filled, the oldest first.
static uint32_t queue[BUFFERS], queued;
static uint32_t frames;

int open(const char *path, int flags, ...) {
    va_list more;
    va_start(more, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, mode_t) : 0;
    va_end(more);
    const char *at = getenv("CAMERA_AT");
    if (strcmp(path, at ? at : "/dev/zero") == 0) return camera = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    int (*next)(const char *, int, ...) = dlsym(RTLD_NEXT, "open");
    int fd = next(path, flags, mode);
    // The camera was closed, and its number is another file's.
    if (fd == camera) camera = -1;
    return fd;
}

// Rust opens files by this name.
int open64(const char *path, int flags, ...) {
    va_list more;
    va_start(more, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, mode_t) : 0;
    va_end(more);
    return open(path, flags, mode);
}

void *mmap(void *at, size_t length, int protection, int flags, int fd, off_t offset) {
    void *(*next)(void *, size_t, int, int, int, off_t) = dlsym(RTLD_NEXT, "mmap");
    if (fd != camera || fd == -1) return next(at, length, protection, flags, fd, offset);
    void *made = next(at, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memory[offset / SIZE] = made;
    return made;
}

static void settle(struct v4l2_pix_format *pix) {
    int large = pix->width > 640;
    format = pix->pixelformat == V4L2_PIX_FMT_MJPEG ? V4L2_PIX_FMT_MJPEG : V4L2_PIX_FMT_YUYV;
    width = large ? 1280 : 640;
    height = large ? 720 : 480;
}

static void describe(struct v4l2_pix_format *pix) {
    pix->pixelformat = format;
    pix->width = width;
    pix->height = height;
    pix->bytesperline = 2 * width;
    pix->sizeimage = SIZE;
}

static void rate(struct v4l2_fract *period, int asked) {
    uint32_t best = format == V4L2_PIX_FMT_YUYV && width > 640 ? 10 : 30;
    if (asked) fps = period->denominator < best * period->numerator ? period->denominator / period->numerator : best;
    if (fps > best) fps = best;
    period->numerator = 1;
    period->denominator = fps;
}

static void stream(int on) {
    struct itimerspec every = {0};
    if (on) every.it_interval.tv_nsec = every.it_value.tv_nsec = 1000000000 / fps;
    timerfd_settime(camera, 0, &every, NULL);
}

static uint32_t fill(uint8_t *pixels) {
    const char *jpeg = getenv("CAMERA_JPEG");
    if (format == V4L2_PIX_FMT_MJPEG && jpeg) {
        FILE *file = fopen(jpeg, "r");
        size_t length = fread(pixels, 1, SIZE, file);
        fclose(file);
        return length;
    }
    for (uint32_t i = 0; i < width * height; i++) {
        pixels[2 * i] = 16 + frames % 200;
        pixels[2 * i + 1] = 128;
    }
    return width * height * 2;
}

static int is(uint32_t number, const char *variable) {
    const char *value = getenv(variable);
    return value && number == (uint32_t)atoi(value);
}

static int dequeue(struct v4l2_buffer *buffer) {
    uint64_t due;
    if (queued == 0 || read(camera, &due, sizeof due) < 0) return errno = EAGAIN;
    if (is(frames, "CAMERA_UNPLUGGED")) return errno = ENODEV;
    frames += 1;
    if (is(frames, "CAMERA_STALLS")) stream(0);
    buffer->index = queue[0];
    buffer->length = SIZE;
    buffer->bytesused = fill(memory[queue[0]]);
    buffer->flags = V4L2_BUF_FLAG_DONE | V4L2_BUF_FLAG_TIMESTAMP_MONOTONIC;
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    buffer->timestamp.tv_sec = now.tv_sec - 1;
    buffer->timestamp.tv_usec = now.tv_nsec / 1000;
    memmove(queue, queue + 1, --queued * sizeof queue[0]);
    return 0;
}

static void capabilities(struct v4l2_capability *can) {
    strcpy((char *)can->driver, "preload");
    strcpy((char *)can->card, "Camera of a test");
    can->device_caps = V4L2_CAP_VIDEO_CAPTURE | V4L2_CAP_STREAMING;
    can->capabilities = can->device_caps | V4L2_CAP_DEVICE_CAPS;
}

static int name_format(struct v4l2_fmtdesc *described) {
    if (described->index > 1) return errno = EINVAL;
    described->pixelformat = described->index == 0 ? V4L2_PIX_FMT_YUYV : V4L2_PIX_FMT_MJPEG;
    return 0;
}

static int name_size(struct v4l2_frmsizeenum *size) {
    int jpeg = size->pixel_format == V4L2_PIX_FMT_MJPEG;
    if (size->index > (jpeg ? 0 : 1)) return errno = EINVAL;
    int large = jpeg || size->index == 1;
    size->type = V4L2_FRMSIZE_TYPE_DISCRETE;
    size->discrete.width = large ? 1280 : 640;
    size->discrete.height = large ? 720 : 480;
    return 0;
}

// The small size has two rates, 30 and 15 frames/s.
static int name_rate(struct v4l2_frmivalenum *period) {
    int slow = period->pixel_format == V4L2_PIX_FMT_YUYV && period->width > 640;
    if (period->index > (period->width > 640 ? 0 : 1)) return errno = EINVAL;
    period->type = V4L2_FRMIVAL_TYPE_DISCRETE;
    period->discrete.numerator = 1;
    period->discrete.denominator = slow ? 10 : period->index == 0 ? 30 : 15;
    return 0;
}

static int answer(unsigned long request, void *argument) {
    struct v4l2_buffer *buffer = argument;
    switch (request) {
    case VIDIOC_QUERYCAP: capabilities(argument); return 0;
    case VIDIOC_ENUM_FMT: return name_format(argument);
    case VIDIOC_ENUM_FRAMESIZES: return name_size(argument);
    case VIDIOC_ENUM_FRAMEINTERVALS: return name_rate(argument);
    case VIDIOC_S_FMT: settle(&((struct v4l2_format *)argument)->fmt.pix); // falls through
    case VIDIOC_G_FMT: describe(&((struct v4l2_format *)argument)->fmt.pix); return 0;
    case VIDIOC_S_PARM: rate(&((struct v4l2_streamparm *)argument)->parm.capture.timeperframe, 1); return 0;
    case VIDIOC_G_PARM: rate(&((struct v4l2_streamparm *)argument)->parm.capture.timeperframe, 0); return 0;
    case VIDIOC_REQBUFS: {
        struct v4l2_requestbuffers *asked = argument;
        if (asked->count > BUFFERS) asked->count = BUFFERS;
        buffers = asked->count;
        return 0;
    }
    case VIDIOC_QUERYBUF:
        buffer->length = SIZE;
        buffer->m.offset = buffer->index * SIZE;
        return buffer->index < buffers ? 0 : (errno = EINVAL);
    case VIDIOC_QBUF: queue[queued++] = buffer->index; return 0;
    case VIDIOC_DQBUF: return dequeue(buffer);
    case VIDIOC_STREAMON: stream(1); return 0;
    case VIDIOC_STREAMOFF: stream(0); queued = 0; return 0;
    default: return errno = EINVAL;
    }
}

int ioctl(int fd, unsigned long request, ...) {
    va_list more;
    va_start(more, request);
    void *argument = va_arg(more, void *);
    va_end(more);
    int (*next)(int, unsigned long, ...) = dlsym(RTLD_NEXT, "ioctl");
    if (fd != camera || fd == -1) return next(fd, request, argument);
    return answer(request, argument) == 0 ? 0 : -1;
}
