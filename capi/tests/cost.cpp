// What a call of the library takes beyond the pixels: cost [CALLS]. Medians in ns, or, run by
// scripts/count-instructions, just so many calls.
#include <opencv2/core.hpp>

#include <algorithm>

#include "check.hpp"

using namespace shm_frame;

namespace {

template <class Run>
double median_ns(int calls, Run run) {
    std::vector<double> took;
    for (int i = 0; i < calls; ++i) {
        const auto begin = std::chrono::steady_clock::now();
        run();
        const auto end = std::chrono::steady_clock::now();
        took.push_back(std::chrono::duration<double, std::nano>(end - begin).count());
    }
    std::nth_element(took.begin(), took.begin() + calls / 2, took.end());
    return took[static_cast<std::size_t>(calls) / 2];
}

}  // namespace

int main(int argc, char** argv) {
    const int calls = argc > 1 ? std::stoi(argv[1]) : 20000;
    const TestName name;
    Sender sender(name);
    Receiver receiver(name);
    const auto publish = [&] { sender.loan({640, 404, bgr8}).publish(); };
    publish();
    take(receiver);
    const double nothing = median_ns(calls, [] {});
    const double publishing = median_ns(calls, publish);
    const auto with = [&](auto receive) {
        return median_ns(calls,
                         [&] {
                             publish();
                             receive();
                         }) -
               publishing;
    };
    const double received = with([&] { take(receiver); });
    const double view = with([&] {
        const Frame frame = take(receiver);
        const cv::Mat image = frame.mat();
    });
    const double owned = with([&] { const cv::Mat image = take(receiver).mat(); });
    std::printf("loan and publish              %4.0f ns\n", publishing - nothing);
    std::printf("receive and release           %4.0f ns\n", received);
    std::printf("the same with a Mat as a view %4.0f ns\n", view);
    std::printf("the same with a Mat that owns %4.0f ns\n", owned);
}
