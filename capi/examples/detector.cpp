// Finds what is bright in the frames of one segment, and answers with the frames and the boxes in
// another: detector FROM TO [COUNT].
//
// The boxes are JSON in the frame's meta: {"boxes":[{"x":8,"y":4,"width":60,"height":60}]}.
#include <opencv2/core.hpp>
#include <opencv2/imgproc.hpp>

#include <cstdio>
#include <vector>

#include "shm_frame.hpp"

namespace {

std::string boxes(const cv::Mat& image) {
    cv::Mat first, bright;
    cv::extractChannel(image, first, 0);
    cv::threshold(first, bright, 200, 255, cv::THRESH_BINARY);
    std::vector<std::vector<cv::Point>> outlines;
    cv::findContours(bright, outlines, cv::RETR_EXTERNAL, cv::CHAIN_APPROX_SIMPLE);
    std::string json;
    for (const auto& outline : outlines) {
        const cv::Rect box = cv::boundingRect(outline);
        json += cv::format("%s{\"x\":%d,\"y\":%d,\"width\":%d,\"height\":%d}",
                           json.empty() ? "" : ",", box.x, box.y, box.width, box.height);
    }
    return "{\"boxes\":[" + json + "]}";
}

}  // namespace

int main(int argc, char** argv) try {
    if (argc < 3) {
        std::fprintf(stderr, "usage: detector FROM TO [COUNT]\n");
        return 2;
    }
    int left = argc > 3 ? std::stoi(argv[3]) : -1;

    shm_frame::Receiver receiver(argv[1]);
    shm_frame::Sender sender(argv[2]);
    while (left != 0) {
        // Read in place: nobody writes there until the frame is gone.
        const auto frame = receiver.receive(std::chrono::milliseconds(100));
        if (!frame) {
            sender.tend();
            continue;
        }
        const std::string meta = boxes(frame->mat());
        sender.publish(frame->mat(), {frame->captured_ns(), meta}, frame->shape().format.order());
        --left;
    }
} catch (const std::exception& error) {
    std::fprintf(stderr, "detector: %s\n", error.what());
    return 1;
}
