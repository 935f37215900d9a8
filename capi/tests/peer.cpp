// One end of a segment, for tests between processes:
//
//     peer send NAME
//         sends frames that check themselves, flat out and for ever
//     peer receive NAME COUNT
//         takes them and checks them, and keeps some as Mats meanwhile
//     peer send-picture NAME FILE
//         sends a picture 50 times a second, for ever
//     peer receive-picture NAME FILE COUNT
//         takes COUNT frames that must be this picture
//     peer same FILE FILE
//         whether two pictures are the same
//     peer send-raw NAME WIDTH HEIGHT FORMAT FILE
//         sends the bytes of FILE, for ever
//     peer receive-raw NAME WIDTH HEIGHT FORMAT FILE
//         takes a frame of a sender that knows only the header; it must be the bytes of FILE
//
// Ends with 0 if all was well, and says what it saw.
#include <opencv2/core.hpp>
#include <opencv2/imgcodecs.hpp>

#include <deque>
#include <fstream>
#include <iterator>
#include <set>
#include <thread>

#include "check.hpp"

using namespace std::chrono_literals;
using namespace shm_frame;

namespace {

int send(const std::string& name) {
    shmf_sender_options options = {};
    // So that several receivers can keep frames, and those that die leave some to the others.
    options.slots = 16;
    Sender sender(name, options);
    for (std::uint64_t number = 1;; ++number) Checked(number).send(sender);
}

int receive(const std::string& name, int count) {
    Receiver receiver(name);
    std::deque<std::pair<std::uint64_t, cv::Mat>> kept;
    std::set<std::int32_t> formats;
    std::uint64_t session = 0, last = 0;
    int taken = 0, leased = 0, sessions = 0, ended = 0;
    std::string wrong;
    auto end = std::chrono::steady_clock::now() + patience;
    while (taken < count && wrong.empty()) {
        if (std::chrono::steady_clock::now() > end) wrong = "no frame for too long";
        auto frame = receiver.receive(1s);
        if (!frame) {
            if (receiver.status() == Status::ended) {
                ++ended;
                std::printf("ended: %s\n", shmf_last_error());
                std::fflush(stdout);
            }
            continue;
        }
        end = std::chrono::steady_clock::now() + patience;
        if (frame->info().session != session) {
            session = frame->info().session;
            last = 0;
            ++sessions;
            std::printf("session %d\n", sessions);
            std::fflush(stdout);
        }
        const std::uint64_t number = frame->number();
        wrong = Checked(number).wrong(*frame);
        // What was read of a truncated segment is not the frame.
        if (!frame->is_intact()) continue;
        if (number <= last) wrong = "frame " + std::to_string(number) + " is older than the last";
        last = number;
        formats.insert(frame->shape().format.word());
        ++taken;
        if (taken % 512 == 0) std::printf("taken %d\n", taken);
        std::fflush(stdout);
        if (frame->via() != Via::leased) continue;
        ++leased;
        // Some are kept, and looked at again in another thread.
        kept.emplace_back(number, std::move(*frame).mat());
        if (kept.size() < 4) continue;
        std::thread([&] {
            const auto& [old, image] = kept.front();
            if (!Checked(old).stands_in(image.data, image.total() * image.elemSize())) {
                wrong = "frame " + std::to_string(old) + " changed while it was held";
            }
            kept.pop_front();
        }).join();
    }
    std::printf("taken=%d leased=%d sessions=%d ended=%d formats=%zu %s\n", taken, leased, sessions,
                ended, formats.size(), wrong.c_str());
    return wrong.empty() && leased > count / 2 ? 0 : 1;
}

cv::Mat read(const std::string& file) {
    cv::Mat picture = cv::imread(file, cv::IMREAD_UNCHANGED);
    CHECK(!picture.empty());
    return picture;
}

bool same(const cv::Mat& a, const cv::Mat& b) {
    return a.size() == b.size() && a.type() == b.type() && cv::norm(a, b, cv::NORM_INF) == 0;
}

int send_picture(const std::string& name, const std::string& file) {
    const cv::Mat picture = read(file);
    Sender sender(name);
    for (;;) {
        sender.publish(picture);
        std::this_thread::sleep_for(20ms);
    }
}

int receive_picture(const std::string& name, const std::string& file, int count) {
    const cv::Mat picture = read(file);
    Receiver receiver(name);
    for (int i = 0; i < count; ++i) {
        const Frame frame = take(receiver);
        CHECK(same(frame.mat(), picture));
        CHECK(frame.is_intact());
    }
    std::printf("received %d\n", count);
    return 0;
}

std::string bytes_of(const std::string& file) {
    std::ifstream stream(file, std::ios::binary);
    std::string bytes{std::istreambuf_iterator<char>(stream), {}};
    CHECK(!bytes.empty());
    return bytes;
}

int send_raw(const std::string& name, Shape shape, const std::string& file) {
    const std::string bytes = bytes_of(file);
    CHECK(bytes.size() == shape.bytes());
    Sender sender(name);
    for (;;) {
        sender.publish(shape, bytes.data());
        std::this_thread::sleep_for(20ms);
    }
}

int receive_raw(const std::string& name, Shape shape, const std::string& file) {
    const std::string bytes = bytes_of(file);
    Receiver receiver(name);
    const Frame frame = take(receiver);
    CHECK(frame.via() == Via::plain);
    CHECK(frame.shape() == shape);
    CHECK(frame.size() == bytes.size());
    CHECK(std::memcmp(frame.data(), bytes.data(), bytes.size()) == 0);
    return 0;
}

}  // namespace

int main(int argc, char** argv) try {
    const std::vector<std::string> words(argv + 1, argv + argc);
    const std::string role = words.empty() ? "" : words[0];
    if (role == "send" && words.size() == 2) return send(words[1]);
    if (role == "receive" && words.size() == 3) return receive(words[1], std::stoi(words[2]));
    if (role == "send-picture" && words.size() == 3) return send_picture(words[1], words[2]);
    if (role == "receive-picture" && words.size() == 4) {
        return receive_picture(words[1], words[2], std::stoi(words[3]));
    }
    if (role == "same" && words.size() == 3) return same(read(words[1]), read(words[2])) ? 0 : 1;
    if ((role == "send-raw" || role == "receive-raw") && words.size() == 6) {
        const Format format = Format::from_word(std::stoi(words[4]));
        const Shape shape{std::stoi(words[2]), std::stoi(words[3]), format};
        const auto run = role == "send-raw" ? send_raw : receive_raw;
        return run(words[1], shape, words[5]);
    }
    std::fprintf(stderr, "peer.cpp says how to use this\n");
    return 2;
} catch (const std::exception& error) {
    std::fprintf(stderr, "peer: %s\n", error.what());
    return 1;
}
