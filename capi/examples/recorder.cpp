// Writes the frames of a segment to files, and a line of JSON for each: recorder NAME DIRECTORY
// [COUNT].
//
// Gray frames become PGM, colour PPM, and all other formats the bytes as they are. What is known of
// them is in DIRECTORY/frames.jsonl. It does without OpenCV.
#include <cstdio>
#include <filesystem>
#include <fstream>

#include "shm_frame.hpp"

namespace {

// Writes the pixels, and says to which file.
std::string write(const std::filesystem::path& directory, const shm_frame::Frame& frame) {
    const auto [width, height, format] = frame.shape();
    const bool gray = format == shm_frame::gray8, bgr = format == shm_frame::bgr8;
    const bool colour = bgr || format == shm_frame::rgb8;
    char name[32];
    std::snprintf(name, sizeof name, "%06llu.%s", static_cast<unsigned long long>(frame.number()),
                  gray     ? "pgm"
                  : colour ? "ppm"
                           : "raw");
    std::ofstream file(directory / name, std::ios::binary);
    if (gray || colour) {
        file << (gray ? "P5 " : "P6 ") << width << ' ' << height << " 255\n";
    }
    if (bgr) {
        std::string red_first(frame.size(), '\0');
        for (std::size_t i = 0; i < frame.size(); ++i) {
            red_first[i - i % 3 + 2 - i % 3] = static_cast<char>(frame.data()[i]);
        }
        file << red_first;
    } else {
        file.write(reinterpret_cast<const char*>(frame.data()),
                   static_cast<std::streamsize>(frame.size()));
    }
    if (!file.flush()) throw std::runtime_error(std::string("cannot write ") + name);
    return name;
}

}  // namespace

int main(int argc, char** argv) try {
    if (argc < 3) {
        std::fprintf(stderr, "usage: recorder NAME DIRECTORY [COUNT]\n");
        return 2;
    }
    int left = argc > 3 ? std::stoi(argv[3]) : -1;
    const std::filesystem::path directory(argv[2]);
    std::filesystem::create_directories(directory);
    std::ofstream lines(directory / "frames.jsonl");

    shm_frame::Receiver receiver(argv[1]);
    while (left != 0) {
        const auto frame = receiver.receive(std::chrono::seconds(1));
        if (!frame) {
            std::fprintf(stderr, "waiting: %s\n", shmf_last_error());
            continue;
        }
        const std::string file = write(directory, *frame);
        // It is JSON by convention only.
        const bool json = !frame->meta().empty() && frame->meta().front() == '{';
        const auto shape = frame->shape();
        lines << "{\"number\":" << frame->number() << ",\"file\":\"" << file  //
              << "\",\"width\":" << shape.width << ",\"height\":" << shape.height
              << ",\"format\":" << shape.format.word()
              << ",\"captured_ns\":" << frame->captured_ns()
              << ",\"delay_ns\":" << frame->delay().count() << ",\"skipped\":" << frame->skipped()
              << ",\"meta\":" << (json ? frame->meta() : "null") << "}" << std::endl;
        --left;
    }
} catch (const std::exception& error) {
    std::fprintf(stderr, "recorder: %s\n", error.what());
    return 1;
}
