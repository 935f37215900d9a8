// Sends the frames of a webcam: webcam NAME [COUNT]. Without a camera, a moving picture.
//
// Any number of processes receive it, each at its own pace: start `detector NAME /boxes` and
// `recorder NAME DIRECTORY`.
#include <opencv2/core.hpp>
#include <opencv2/core/utils/logger.hpp>
#include <opencv2/imgproc.hpp>
#include <opencv2/videoio.hpp>

#include <cstdio>
#include <thread>

#include "shm_frame.hpp"

namespace {

std::uint64_t now_ns() {
    const auto now = std::chrono::system_clock::now().time_since_epoch();
    return static_cast<std::uint64_t>(std::chrono::nanoseconds(now).count());
}

// A dark picture with a bright square that moves.
void draw(cv::Mat& image, int i) {
    constexpr int side = 60;
    for (int y = 0; y < image.rows; ++y) image.row(y).setTo(cv::Scalar::all(y / 4));
    const cv::Rect square(8 * i % (image.cols - side), 4 * i % (image.rows - side), side, side);
    image(square).setTo(cv::Scalar::all(255));
}

}  // namespace

int main(int argc, char** argv) try {
    if (argc < 2) {
        std::fprintf(stderr, "usage: webcam NAME [COUNT]\n");
        return 2;
    }
    const int count = argc > 2 ? std::stoi(argv[2]) : -1;

    // Of cameras that are not there.
    cv::utils::logging::setLogLevel(cv::utils::logging::LOG_LEVEL_SILENT);
    cv::VideoCapture camera(0);
    cv::Mat first;
    if (!camera.read(first)) {
        std::fprintf(stderr, "no camera: sending a moving picture\n");
        first.create(480, 640, CV_8UC3);
    }
    const shm_frame::Shape shape{first.cols, first.rows, shm_frame::bgr8};

    shmf_sender_options options = {};
    options.capacity = shape.bytes();
    options.slots = 6;
    shm_frame::Sender sender(argv[1], options);
    auto due = std::chrono::steady_clock::now();
    for (int i = 0; i != count; ++i) {
        if (camera.isOpened()) {
            if (!camera.grab()) break;
        } else {
            std::this_thread::sleep_until(due);
            due += std::chrono::milliseconds(33);
        }
        const std::uint64_t captured_ns = now_ns();
        auto loan = sender.loan(shape);
        cv::Mat image = loan.mat();
        // Decoded straight into the slot.
        if (camera.isOpened()) {
            camera.retrieve(image);
        } else {
            draw(image, i);
        }
        if (!loan.is_filled_by(image)) throw std::runtime_error("the camera changed its size");
        std::move(loan).publish({captured_ns});
    }
} catch (const std::exception& error) {
    std::fprintf(stderr, "webcam: %s\n", error.what());
    return 1;
}
