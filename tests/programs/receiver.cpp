// A receiver that knows the 24-byte header and nothing else, the way people write them.
// Usage: receiver NAME WIDTH HEIGHT CHANNELS OUT: takes a frame and writes its pixels to the file OUT. CHANNELS is the header's
// word that it expects: the count of elements, and in the next byte 2 for u16.
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
#include <sys/stat.h>
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
    if (argc != 6) {
        std::fprintf(stderr, "usage: receiver NAME WIDTH HEIGHT CHANNELS OUT\n");
        return 2;
    }
    const char* name = argv[1];
    const int width = std::atoi(argv[2]), height = std::atoi(argv[3]), channels = std::atoi(argv[4]);
    const int element_bytes = channels >> 8 == 2 ? 2 : 1;
    const size_t pixel_bytes = static_cast<size_t>(width) * height * (channels & 255) * element_bytes;
    const size_t size = sizeof(FrameHeader) + pixel_bytes;

    for (int tries = 0; tries < 3000; ++tries, std::this_thread::sleep_for(std::chrono::milliseconds(10))) {
        const int fd = shm_open(name, O_RDONLY, 0);
        struct stat file {};
        if (fd < 0 || fstat(fd, &file) < 0 || static_cast<size_t>(file.st_size) < size) {
            if (fd >= 0) close(fd);
            continue;
        }
        void* memory = mmap(nullptr, size, PROT_READ, MAP_SHARED, fd, 0);
        close(fd);
        if (memory == MAP_FAILED) {
            std::perror("mmap");
            return 1;
        }
        const auto* header = static_cast<const volatile FrameHeader*>(memory);
        const int valid = header->frame_valid;
        std::atomic_thread_fence(std::memory_order_seq_cst);
        if (valid == 1 && (header->width != width || header->height != height || header->channels != channels)) {
            std::fprintf(stderr, "segment is %dx%dx%d, expected %dx%dx%d\n", header->width, header->height,
                         header->channels, width, height, channels);
            return 1;
        }
        if (valid == 1) {
            std::vector<uint8_t> image(pixel_bytes);
            std::memcpy(image.data(), static_cast<const uint8_t*>(memory) + sizeof(FrameHeader), pixel_bytes);
            FILE* out = std::fopen(argv[5], "wb");
            if (!out || std::fwrite(image.data(), 1, pixel_bytes, out) != pixel_bytes || std::fclose(out) != 0) {
                std::perror(argv[5]);
                return 1;
            }
            return 0;
        }
        munmap(memory, size);
    }
    std::fprintf(stderr, "no frame in 30 s\n");
    return 1;
}
