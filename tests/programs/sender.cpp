// A sender that knows the 24-byte header and nothing else, the way people write them.
// Usage: sender NAME WIDTH HEIGHT PIXELS FPS [CHANNELS]: rewrites /NAME with the image in the file PIXELS. CHANNELS is the
// header's word, 3 if it is left out: the count of elements, and in the next byte 2 for u16.
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <thread>
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

int main(int argc, char** argv) {
    if (argc != 6 && argc != 7) {
        std::fprintf(stderr, "usage: sender NAME WIDTH HEIGHT PIXELS FPS [CHANNELS]\n");
        return 2;
    }
    const char* name = argv[1];
    const int width = std::atoi(argv[2]), height = std::atoi(argv[3]);
    const double fps = std::atof(argv[5]);
    const int channels = argc == 7 ? std::atoi(argv[6]) : 3;
    const int element_bytes = channels >> 8 == 2 ? 2 : 1;
    const size_t pixel_bytes = static_cast<size_t>(width) * height * (channels & 255) * element_bytes;
    const size_t size = sizeof(FrameHeader) + pixel_bytes;

    std::vector<uint8_t> image(pixel_bytes);
    FILE* file = std::fopen(argv[4], "rb");
    if (!file || std::fread(image.data(), 1, pixel_bytes, file) != pixel_bytes) {
        std::perror(argv[4]);
        return 1;
    }
    std::fclose(file);

    shm_unlink(name);
    int fd = shm_open(name, O_CREAT | O_RDWR, 0666);
    if (fd < 0 || ftruncate(fd, static_cast<off_t>(size)) < 0) {
        std::perror(name);
        return 1;
    }
    auto* memory = static_cast<uint8_t*>(mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
    if (memory == MAP_FAILED) {
        std::perror("mmap");
        return 1;
    }
    auto* header = reinterpret_cast<volatile FrameHeader*>(memory);
    for (;;) {
        header->frame_valid = 0;
        header->width = width;
        header->height = height;
        header->channels = channels;
        header->timestamp_ms = std::chrono::duration_cast<std::chrono::milliseconds>(
                                   std::chrono::system_clock::now().time_since_epoch())
                                   .count();
        std::memcpy(memory + sizeof(FrameHeader), image.data(), pixel_bytes);
        std::atomic_thread_fence(std::memory_order_seq_cst);
        header->frame_valid = 1;
        if (fps > 0) std::this_thread::sleep_for(std::chrono::duration<double>(1 / fps));
    }
}
