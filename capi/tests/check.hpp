// What the tests share: tests that are sentences, names of their own, frames that check themselves.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <sys/mman.h>
#include <unistd.h>

#include "shm_frame.hpp"

#define CHECK(...)                                                                          \
    do {                                                                                    \
        if (!(__VA_ARGS__)) {                                                               \
            throw std::runtime_error(std::string(__FILE__ ":") + std::to_string(__LINE__) + \
                                     ": " #__VA_ARGS__);                                    \
        }                                                                                   \
    } while (false)

// Long enough for the slowest machine; nothing is said about how long it takes.
inline constexpr std::chrono::seconds patience{30};

// A name that no other test uses. What is left under it is removed in the end.
class TestName {
public:
    TestName() {
        static int count = 0;
        name_ = "/shm-frame-test-c-" + std::to_string(getpid()) + "-" + std::to_string(count++);
    }
    TestName(const TestName&) = delete;
    TestName& operator=(const TestName&) = delete;
    ~TestName() { shm_unlink(name_.c_str()); }
    operator const std::string&() const { return name_; }
    const char* c_str() const { return name_.c_str(); }
    std::string file() const { return "/dev/shm" + name_; }

private:
    std::string name_;
};

// Fails unless the code throws this status, with these words.
inline void throws(int code, const std::string& words, const std::function<void()>& run) {
    try {
        run();
    } catch (const shm_frame::Error& error) {
        if (error.code() == code && std::string(error.what()).find(words) != std::string::npos) {
            return;
        }
        throw std::runtime_error("status " + std::to_string(error.code()) + ": " + error.what() +
                                 " instead of " + words);
    }
    throw std::runtime_error("no error: " + words);
}

inline shm_frame::Frame take(shm_frame::Receiver& receiver) {
    auto frame = receiver.receive(patience);
    if (!frame) throw std::runtime_error(std::string("no frame: ") + shmf_last_error());
    return std::move(*frame);
}

inline std::vector<shm_frame::Format> all_formats() {
    using namespace shm_frame;
    std::vector<Format> formats;
    for (int element = SHMF_U8; element <= SHMF_F16; ++element) {
        for (int channels = 1; channels <= 4; ++channels) {
            formats.emplace_back(channels, Element(element));
            if (channels >= 3) formats.emplace_back(channels, Element(element), Order::rgb);
        }
    }
    return formats;
}

// Frames whose shape, words and extras follow from their number; so do those of the peers in
// Python and Rust, python/tests/peer.py and crates/testing/examples/peer.rs. The 8 bytes at 8 * i
// are number * 0x9E3779B97F4A7C15 ^ i, little-endian, and cut off at the end.
class Checked {
public:
    explicit Checked(std::uint64_t number) : number_(number) {}

    shm_frame::Shape shape() const {
        static const auto formats = all_formats();
        const auto vary = static_cast<std::int32_t>(number_ % 7);
        // Not one after the other: a receiver that takes every second frame sees all of them.
        return {150 + vary, 100 - vary, formats[(word(0) >> 32) % formats.size()]};
    }
    std::uint64_t captured_ns() const { return number_ * 1000; }
    std::string meta() const { return number_ % 3 == 0 ? "" : std::to_string(number_); }

    void fill(void* pixels, std::size_t size) const {
        auto* bytes = static_cast<std::uint8_t*>(pixels);
        for (std::size_t at = 0; at < size; at += 8) {
            const std::uint64_t word = this->word(at / 8);
            std::memcpy(bytes + at, &word, std::min<std::size_t>(8, size - at));
        }
    }
    bool stands_in(const void* pixels, std::size_t size) const {
        const auto* bytes = static_cast<const std::uint8_t*>(pixels);
        for (std::size_t at = 0; at < size; at += 8) {
            const std::uint64_t word = this->word(at / 8);
            if (std::memcmp(bytes + at, &word, std::min<std::size_t>(8, size - at)) != 0) {
                return false;
            }
        }
        return true;
    }
    // Nothing, or what is wrong with a frame.
    std::string wrong(const shm_frame::Frame& frame) const {
        const std::string which = "frame " + std::to_string(number_) + " ";
        if (frame.shape() != shape()) return which + "has another's shape";
        if (frame.captured_ns() != captured_ns()) return which + "has another's captured_ns";
        if (frame.meta() != meta()) return which + "has another's meta";
        if (!stands_in(frame.data(), frame.size())) return which + "is torn";
        return "";
    }
    void send(shm_frame::Sender& sender) const {
        const std::string meta = this->meta();
        auto loan = sender.loan(shape(), meta.size());
        fill(loan.data(), loan.size());
        const std::uint64_t number = std::move(loan).publish({captured_ns(), meta});
        CHECK(number == number_);
    }

private:
    std::uint64_t word(std::size_t i) const { return number_ * 0x9E3779B97F4A7C15U ^ i; }

    std::uint64_t number_;
};

struct Test {
    const char* name;
    void (*run)();
};

inline std::vector<Test>& tests() {
    static std::vector<Test> tests;
    return tests;
}

struct Registered {
    Registered(const char* name, void (*run)()) { tests().push_back({name, run}); }
};

#define TEST(name)                                          \
    static void name();                                     \
    static const Registered registered_##name(#name, name); \
    static void name()

// Runs all tests, or those with these words in their names.
inline int run_tests(int argc, char** argv) {
    int passed = 0, failed = 0;
    for (const Test& test : tests()) {
        if (argc > 1 && std::strstr(test.name, argv[1]) == nullptr) continue;
        try {
            test.run();
            ++passed;
        } catch (const std::exception& error) {
            ++failed;
            std::printf("FAILED %s: %s\n", test.name, error.what());
        }
        std::fflush(stdout);
    }
    std::printf("%d passed, %d failed\n", passed, failed);
    return failed == 0 && passed > 0 ? 0 : 1;
}
