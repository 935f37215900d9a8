// How the C++ wrapper behaves, in one process but where another is needed.
#include <opencv2/core.hpp>
#include <opencv2/imgproc.hpp>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <deque>
#include <fstream>
#include <future>
#include <mutex>
#include <thread>

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "check.hpp"

using namespace std::chrono_literals;
using namespace shm_frame;

namespace {

const Shape small{64, 48, bgr8};

shmf_sender_options with_slots(std::uint32_t slots) {
    shmf_sender_options options = {};
    options.slots = slots;
    return options;
}

void send_filled(Sender& sender, int value, Shape shape = small) {
    auto loan = sender.loan(shape);
    std::memset(loan.data(), value, loan.size());
    std::move(loan).publish();
}

bool is_filled(const cv::Mat& image, int value) {
    return std::all_of(image.datastart, image.dataend, [=](auto byte) { return byte == value; });
}

// How a child process ends that runs this: its exit code, or the negative signal.
int in_a_child(const std::function<int()>& run) {
    const pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) _exit(run());
    int status = 0;
    CHECK(waitpid(pid, &status, 0) == pid);
    return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

}  // namespace

// Processes are forked before there are threads.

TEST(a_forked_child_can_not_use_its_parents_sender_and_does_it_no_harm) {
    const TestName name;
    auto sender = std::make_unique<Sender>(name);
    send_filled(*sender, 1);
    const int code = in_a_child([&] {
        try {
            throws(SHMF_FORKED, "create a sender after the fork", [&] { send_filled(*sender, 2); });
            Receiver receiver(name);
            if (!is_filled(take(receiver).mat(), 1)) return 2;
            sender.reset();
            return 0;
        } catch (const std::exception& error) {
            std::fprintf(stderr, "%s\n", error.what());
            return 1;
        }
    });
    CHECK(code == 0);
    CHECK(access(std::string("/dev/shm" + std::string(name)).c_str(), F_OK) == 0);
    Receiver receiver(name);
    send_filled(*sender, 3);
    CHECK(is_filled(take(receiver).mat(), 3));
}

TEST(a_receiver_that_only_reads_has_frames_in_place_too) {
    const TestName name;
    Sender sender(name);
    Receiver receiver(name, WaitMode::sleep, true);
    int copied = 0;
    for (std::uint8_t value = 1;; value = value % 250 + 1) {
        send_filled(sender, value);
        const Frame frame = take(receiver);
        CHECK(frame.data()[0] == value && frame.is_intact());
        if (frame.via() == Via::leased_read_only) break;
        CHECK(frame.via() == Via::copied);
        CHECK(++copied < 10000);
        std::this_thread::sleep_for(10ms);
    }
    CHECK(copied > 0);
}

TEST(writing_into_a_received_mat_ends_the_process) {
    const TestName name;
    Sender sender(name);
    send_filled(sender, 1);
    Receiver receiver(name);
    CHECK(take(receiver).via() == Via::leased);
    const int code = in_a_child([&] {
        // A sanitizer would catch the signal and print a report.
        signal(SIGSEGV, SIG_DFL);
        Receiver child_receiver(name);
        cv::Mat image = take(child_receiver).mat();
        image.data[0] = 2;
        return 0;
    });
    CHECK(code == -SIGSEGV);
}

TEST(a_slot_on_loan_is_drawn_into_and_received_in_place) {
    const TestName name;
    Sender sender(name);
    auto loan = sender.loan({64, 48, bgr8});
    cv::Mat image = loan.mat();
    cv::Mat large(96, 128, CV_8UC3, cv::Scalar(1, 2, 3));
    cv::resize(large, image, image.size());
    CHECK(loan.is_filled_by(image));
    cv::resize(large, image, {32, 24});
    CHECK(!loan.is_filled_by(image));
    CHECK(!loan.is_filled_by(loan.mat().clone()));
    CHECK(std::move(loan).publish() == 1);
    Receiver receiver(name);
    const Frame frame = take(receiver);
    CHECK(frame.via() == Via::leased);
    CHECK(frame.is_intact());
    const cv::Mat seen = frame.mat();
    CHECK(seen.rows == 48 && seen.cols == 64 && seen.type() == CV_8UC3);
    CHECK(seen.at<cv::Vec3b>(47, 63) == cv::Vec3b(1, 2, 3));
    CHECK(seen.data == frame.data());
}

TEST(every_format_crosses_with_its_type) {
    const TestName name;
    Sender sender(name);
    Receiver receiver(name);
    const auto formats = all_formats();
    CHECK(formats.size() == 48);
    for (const Format format : formats) {
        cv::Mat image(48, 64, format.cv_type());
        Checked(static_cast<std::uint64_t>(format.word()))
            .fill(image.data, image.total() * image.elemSize());
        sender.publish(image, {}, format.order());
        const Frame frame = take(receiver);
        CHECK(frame.shape() == Shape{64, 48, format});
        CHECK(frame.size() == image.total() * image.elemSize());
        CHECK(std::memcmp(frame.data(), image.data, frame.size()) == 0);
        CHECK(frame.mat().type() == image.type());
        CHECK(Format(format.channels(), format.element(), format.order()) == format);
        const int matching = (format.element() == Element::u8) +
                             2 * (format.element() == Element::u16) +
                             4 * (format.element() == Element::f32);
        const auto reads_as = [](auto elements) {
            try {
                return elements() != nullptr;
            } catch (const Error&) {
                return false;
            }
        };
        CHECK(reads_as([&] { return frame.elements<std::uint8_t>(); }) == (matching == 1));
        CHECK(reads_as([&] { return frame.elements<std::uint16_t>(); }) == (matching == 2));
        CHECK(reads_as([&] { return frame.elements<float>(); }) == (matching == 4));
    }
}

TEST(elements_are_written_and_read_as_their_type) {
    const TestName name;
    Sender sender(name);
    auto loan = sender.loan({4, 2, gray16});
    throws(SHMF_INVALID, "of another type", [&] { loan.elements<std::int16_t>(); });
    std::fill_n(loan.elements<std::uint16_t>(), 8, std::uint16_t{500});
    std::move(loan).publish();
    Receiver receiver(name);
    const Frame frame = take(receiver);
    CHECK(std::count(frame.elements<std::uint16_t>(), frame.elements<std::uint16_t>() + 8, 500) ==
          8);
}

TEST(a_mat_keeps_its_frame_until_its_last_copy_is_gone) {
    const TestName name;
    // One frame at a time can be leased.
    Sender sender(name, with_slots(3));
    Receiver receiver(name);
    send_filled(sender, 1);
    Frame frame = take(receiver);
    CHECK(frame.via() == Via::leased);
    const std::uint8_t* pixels = frame.data();
    cv::Mat first = std::move(frame).mat();
    CHECK(first.data == pixels);
    cv::Mat copy = first, part = first(cv::Rect(8, 8, 16, 16));
    cv::UMat on_a_device = first.getUMat(cv::ACCESS_READ);
    for (int i = 0; i < 100; ++i) send_filled(sender, 2);
    CHECK(is_filled(copy, 1));
    first.release();
    copy.release();
    on_a_device.release();
    // The part still has it.
    CHECK(take(receiver).via() == Via::copied);
    CHECK(part.at<cv::Vec3b>(0, 0) == cv::Vec3b(1, 1, 1));
    part.release();
    send_filled(sender, 3);
    CHECK(take(receiver).via() == Via::leased);
}

TEST(a_mat_that_is_given_another_image_lets_go_of_its_frame) {
    const TestName name;
    Sender sender(name, with_slots(3));
    Receiver receiver(name);
    send_filled(sender, 1);
    cv::Mat image = take(receiver).mat();
    send_filled(sender, 2);
    CHECK(take(receiver).via() == Via::copied);
    image.create(480, 640, CV_8UC1);
    image.setTo(7);
    send_filled(sender, 3);
    CHECK(take(receiver).via() == Via::leased);
}

TEST(a_frame_and_its_mat_outlive_receiver_and_sender) {
    const TestName name;
    cv::Mat image, copied;
    {
        Sender sender(name, with_slots(3));
        Receiver receiver(name);
        send_filled(sender, 5);
        image = take(receiver).mat();
        send_filled(sender, 6);
        copied = take(receiver).mat();
    }
    CHECK(access(std::string("/dev/shm" + std::string(name)).c_str(), F_OK) != 0);
    CHECK(is_filled(image, 5));
    CHECK(is_filled(copied, 6));
}

TEST(mats_kept_in_other_threads_do_not_change) {
    const TestName name;
    std::atomic<bool> end{false};
    std::thread sending([&] {
        Sender sender(name, with_slots(6));
        for (std::uint64_t number = 1; !end; ++number) Checked(number).send(sender);
    });
    std::mutex mutex;
    std::condition_variable changed;
    std::deque<std::pair<std::uint64_t, cv::Mat>> queue;
    std::atomic<int> wrong{0}, checked{0};
    bool all_sent = false;
    const auto check = [&] {
        std::deque<std::pair<std::uint64_t, cv::Mat>> kept;
        const auto judge = [&](const auto& item) {
            const auto& [number, image] = item;
            wrong += !Checked(number).stands_in(image.data, image.total() * image.elemSize());
            ++checked;
        };
        for (;;) {
            std::unique_lock lock(mutex);
            changed.wait(lock, [&] { return !queue.empty() || all_sent; });
            if (queue.empty()) break;
            kept.push_back(std::move(queue.front()));
            queue.pop_front();
            lock.unlock();
            judge(kept.back());
            // Some are looked at again after others came.
            if (kept.size() > 2) {
                judge(kept.front());
                kept.pop_front();
            }
        }
        for (const auto& item : kept) judge(item);
    };
    std::thread first(check), second(check);
    Receiver receiver(name);
    int leased = 0;
    for (int i = 0; i < 2000; ++i) {
        Frame frame = take(receiver);
        leased += frame.via() == Via::leased;
        const std::uint64_t number = frame.number();
        const std::lock_guard lock(mutex);
        if (queue.size() < 8) queue.emplace_back(number, std::move(frame).mat());
        changed.notify_one();
    }
    {
        const std::lock_guard lock(mutex);
        all_sent = true;
        changed.notify_all();
    }
    first.join();
    second.join();
    end = true;
    sending.join();
    CHECK(wrong == 0);
    CHECK(checked > 100);
    CHECK(leased > 0);
}

TEST(a_part_of_a_mat_is_published_row_by_row) {
    const TestName name;
    Sender sender(name);
    cv::Mat image(480, 640, CV_16UC3);
    cv::randu(image, 0, 65536);
    const cv::Mat part = image(cv::Rect(17, 5, 300, 200));
    CHECK(!part.isContinuous());
    CHECK(sender.publish(part, {0, "[1]"}) == 1);
    Receiver receiver(name);
    const Frame frame = take(receiver);
    CHECK(cv::norm(frame.mat(), part, cv::NORM_INF) == 0);
    CHECK(frame.meta() == "[1]");
}

TEST(mats_that_are_no_image_are_refused) {
    const TestName name;
    Sender sender(name);
    const int sizes[] = {2, 3, 4};
    throws(SHMF_INVALID, "more than 2 dimensions",
           [&] { sender.publish(cv::Mat(3, sizes, CV_8U)); });
    throws(SHMF_INVALID, "empty", [&] { sender.publish(cv::Mat()); });
    throws(SHMF_INVALID, "257 channels", [&] { sender.publish(cv::Mat(1, 1, CV_8UC(257))); });
}

TEST(extras_cross_and_those_without_room_leave_the_loan_open) {
    const TestName name;
    Sender sender(name);
    Receiver receiver(name);
    sender.publish(small, std::vector<std::uint8_t>(small.bytes()).data(), 0,
                   {123456789, R"({"exposure":0.01})"});
    Frame frame = take(receiver);
    CHECK(frame.captured_ns() == 123456789);
    CHECK(frame.meta() == R"({"exposure":0.01})");

    auto loan = sender.loan(small, 5);
    throws(SHMF_INVALID, "as much meta_room", [&] {
        std::move(loan).publish({0, std::string(2'000'000, 'x')});
    });
    CHECK(std::move(loan).publish({0, "hello"}) == 2);
    frame = take(receiver);
    CHECK(frame.captured_ns() == 0);
    CHECK(frame.meta() == "hello");
    throws(SHMF_INVALID, "sender is NULL", [&] { std::move(loan).publish(); });
}

TEST(a_loan_that_is_let_go_of_is_never_seen) {
    const TestName name;
    Sender sender(name);
    send_filled(sender, 1);
    {
        auto loan = sender.loan(small);
        std::memset(loan.data(), 2, loan.size());
        throws(SHMF_INVALID, "open loan", [&] { sender.loan(small); });
    }
    auto loan = sender.loan(small);
    loan = Loan(std::move(loan));
    std::memset(loan.data(), 3, loan.size());
    CHECK(std::move(loan).publish() == 2);
    Receiver receiver(name);
    CHECK(is_filled(take(receiver).mat(), 3));
}

TEST(a_loan_keeps_its_sender) {
    const TestName name;
    Receiver receiver(name);
    auto sender = std::make_unique<Sender>(name);
    send_filled(*sender, 3);
    CHECK(is_filled(take(receiver).mat(), 3));
    auto loan = sender->loan(small);
    sender.reset();
    std::memset(loan.data(), 4, loan.size());
    CHECK(std::move(loan).publish() == 2);
    CHECK(is_filled(take(receiver).mat(), 4));
    CHECK(!receiver.receive());
    CHECK(receiver.status() == Status::ended);
}

TEST(a_larger_image_moves_the_segment_and_the_receiver_follows) {
    const TestName name;
    shmf_sender_options options = {};
    options.capacity = small.bytes();
    Sender sender(name, options);
    Receiver receiver(name);
    send_filled(sender, 1);
    cv::Mat kept = take(receiver).mat();
    send_filled(sender, 2, {640, 480, rgba8});
    for (;;) {
        auto frame = receiver.receive(patience);
        if (!frame) continue;
        CHECK(frame->shape() == Shape{640, 480, rgba8});
        CHECK(is_filled(frame->mat(), 2));
        break;
    }
    CHECK(is_filled(kept, 1));
}

TEST(a_segment_truncated_under_an_open_mat_reads_zeros_and_says_so) {
    const TestName name;
    Sender sender(name);
    Receiver receiver(name);
    send_filled(sender, 9);
    const Frame frame = take(receiver);
    CHECK(is_filled(frame.mat(), 9));
    CHECK(truncate(name.file().c_str(), 0) == 0);
    CHECK(is_filled(frame.mat(), 0));
    CHECK(!frame.is_intact());
    // The sender makes another segment, and the receiver finds it.
    std::optional<Frame> next;
    const auto end = std::chrono::steady_clock::now() + patience;
    while (!next || next->number() == frame.number()) {
        CHECK(std::chrono::steady_clock::now() < end);
        try {
            send_filled(sender, 8);
        } catch (const Error& error) {
            CHECK(error.code() == SHMF_LOST);
        }
        next = receiver.receive(10ms);
    }
    CHECK(is_filled(next->mat(), 8));
    CHECK(next->is_intact());
}

TEST(a_receiver_starts_first_and_follows_from_sender_to_sender) {
    const TestName name;
    Receiver receiver(name);
    CHECK(!receiver.receive(0ns));
    CHECK(receiver.status() == Status::no_sender);
    CHECK(std::string(shmf_last_error()).find("start its sender") != std::string::npos);
    for (int value = 1; value <= 3; ++value) {
        Sender sender(name);
        send_filled(sender, value);
        CHECK(is_filled(take(receiver).mat(), value));
        CHECK(!receiver.receive(1ms));
        CHECK(receiver.status() == Status::timeout);
        { const Sender ending = std::move(sender); }
        CHECK(!receiver.receive());
        CHECK(receiver.status() == Status::ended);
    }
}

TEST(a_wait_is_ended_by_another_thread_with_and_without_a_sender) {
    const TestName name;
    Receiver receiver(name);
    for (const bool with_sender : {false, true}) {
        std::optional<Sender> sender;
        if (with_sender) {
            sender.emplace(name);
            send_filled(*sender, 1);
            take(receiver);
        }
        auto waiting =
            std::async(std::launch::async, [&] { return receiver.receive().has_value(); });
        // Whether it waits by then or not.
        std::this_thread::sleep_for(20ms);
        receiver.cancel();
        CHECK(!waiting.get());
        CHECK(receiver.status() == Status::cancelled);
    }
}

static const Receiver* interrupted = nullptr;

TEST(a_wait_is_ended_from_a_signal_handler) {
    const TestName name;
    Sender sender(name);
    Receiver receiver(name);
    interrupted = &receiver;
    struct sigaction action = {}, before = {};
    action.sa_handler = [](int) { interrupted->cancel(); };
    CHECK(sigaction(SIGALRM, &action, &before) == 0);
    alarm(1);
    CHECK(!receiver.receive());
    CHECK(receiver.status() == Status::cancelled);
    CHECK(sigaction(SIGALRM, &before, nullptr) == 0);
}

TEST(names_of_other_things_are_errors_with_what_they_are) {
    const TestName name;
    std::ofstream(name.file()) << "no segment";
    Receiver receiver(name);
    throws(SHMF_NOT_A_SEGMENT, "use another name", [&] { receiver.receive(patience); });
    throws(SHMF_NOT_A_SEGMENT, "use another name", [&] { receiver.receive(patience); });
    CHECK(unlink(name.file().c_str()) == 0);
    CHECK(mkfifo(name.file().c_str(), 0600) == 0);
    throws(SHMF_NOT_A_SEGMENT, "use another name", [&] { receiver.receive(patience); });
    CHECK(unlink(name.file().c_str()) == 0);
    // And it goes on when they are gone.
    Sender sender(name);
    send_filled(sender, 1);
    CHECK(is_filled(take(receiver).mat(), 1));
}

TEST(a_second_sender_is_refused_unless_it_replaces_the_first) {
    const TestName name;
    Sender first(name);
    throws(SHMF_LIVE, "set replace in the options", [&] { Sender second(name); });
    shmf_sender_options options = {};
    options.replace = 1;
    Sender second(name, options);
    send_filled(second, 2);
    Receiver receiver(name);
    CHECK(is_filled(take(receiver).mat(), 2));
    // The first one looks every 0.1 s.
    const auto end = std::chrono::steady_clock::now() + patience;
    for (int code = 0; code != SHMF_TAKEN_OVER;) {
        CHECK(std::chrono::steady_clock::now() < end);
        try {
            first.tend();
        } catch (const Error& error) {
            code = error.code();
        }
    }
}

TEST(a_sender_says_what_dev_shm_lacks) {
    const TestName name;
    shmf_sender_options options = {};
    options.capacity = std::size_t{1} << 45;
    throws(SHMF_NO_ROOM, "--shm-size", [&] { Sender sender(name, options); });
}

TEST(a_receiver_that_watches_gets_every_frame_that_it_waits_for) {
    for (const WaitMode mode : {WaitMode::predict, WaitMode::spin}) {
        const TestName name;
        Sender sender(name);
        Receiver receiver(name, mode);
        for (int value = 1; value <= 20; ++value) {
            send_filled(sender, value);
            CHECK(is_filled(take(receiver).mat(), value));
        }
    }
}

int main(int argc, char** argv) {
    cv::setNumThreads(1);
    return run_tests(argc, argv);
}
