// vectors.json, which the tests of every language read: bytes, and what they mean.
// Usage: vectors VECTORS.json
#include <fstream>
#include <iterator>

#include <fcntl.h>

#include "check.hpp"
#include "json.hpp"

using namespace shm_frame;

namespace {

constexpr std::size_t page_size = 4096;
// Where the count of slots, `latest` and the slots' lines stand in the control page.
constexpr std::size_t slots_at = 24, latest_at = 64, lines_at = 128;

Json vectors;

std::string unhex(const std::string& text) {
    std::string bytes;
    for (std::size_t at = 0; at < text.size(); at += 2) {
        bytes += static_cast<char>(std::stoi(text.substr(at, 2), nullptr, 16));
    }
    return bytes;
}

template <class T>
void put(std::string& bytes, std::size_t at, T value) {
    CHECK(at + sizeof value <= bytes.size());
    std::memcpy(bytes.data() + at, &value, sizeof value);
}

// A file of these bytes, with a sender that is alive: this process.
class Segment {
public:
    explicit Segment(const std::string& bytes)
        : fd_(open(name_.file().c_str(), O_RDWR | O_CREAT | O_EXCL, 0600)) {
        CHECK(fd_ >= 0);
        CHECK(write(fd_, bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()));
        struct flock life = {};
        life.l_type = F_WRLCK;
        life.l_whence = SEEK_SET;
        life.l_len = 1;
        CHECK(fcntl(fd_, F_OFD_SETLK, &life) == 0);
    }
    Segment(const Segment&) = delete;
    Segment& operator=(const Segment&) = delete;
    ~Segment() { close(fd_); }
    const std::string& name() const { return name_; }

private:
    TestName name_;
    int fd_;
};

std::string bytes_of(const Json& segment) {
    std::string bytes(segment["len"].number, '\0');
    for (const auto& [at, part] : segment["bytes"].object) {
        const std::string unhexed = unhex(part.string);
        bytes.replace(std::stoul(at), unhexed.size(), unhexed);
    }
    return bytes;
}

}  // namespace

TEST(formats_are_these_words_and_others_are_none) {
    CHECK(vectors["formats"].list.size() == 48);
    for (const Json& vector : vectors["formats"].list) {
        const Format format = Format::from_word(vector["word"].i32());
        CHECK(static_cast<std::uint64_t>(format.channels()) == vector["channels"].number);
        const char* const elements[] = {"u8", "i8", "u16", "i16", "i32", "f32", "f64", "f16"};
        CHECK(elements[static_cast<int>(format.element())] == vector["element"].string);
        CHECK((format.order() == Order::rgb ? "rgb" : "bgr") == vector["order"].string);
        CHECK(Format(format.channels(), format.element(), format.order()) == format);
        CHECK(Shape{1, 1, format}.bytes() == vector["pixel_bytes"].number);
    }
    CHECK(!vectors["refused_words"].list.empty());
    for (const Json& word : vectors["refused_words"].list) {
        CHECK(Shape{1, 1, Format::from_word(word.i32())}.bytes() == 0);
    }
}

TEST(headers_are_images_of_that_size_or_none) {
    CHECK(!vectors["headers"].list.empty());
    for (const Json& vector : vectors["headers"].list) {
        const std::string bytes = unhex(vector["bytes"].string);
        std::int32_t fields[3];
        std::memcpy(fields, bytes.data(), sizeof fields);
        CHECK(fields[0] == vector["width"].i32());
        CHECK(fields[1] == vector["height"].i32());
        CHECK(fields[2] == vector["channels"].i32());
        const Shape shape{fields[0], fields[1], Format::from_word(fields[2])};
        CHECK(shape.bytes() == vector["pixel_bytes"].number);
        const bool image = static_cast<bool>(vector["pixel_bytes"]);
        CHECK((shape.bytes() != 0) == image);
    }
}

TEST(segments_are_accepted_with_this_frame_or_refused) {
    CHECK(!vectors["segments"].list.empty());
    for (const Json& vector : vectors["segments"].list) {
        const Segment segment(bytes_of(vector));
        Receiver receiver(segment.name());
        if (const Json& refused = vector["refused"]) {
            const bool version = refused.string == "version";
            throws(SHMF_NOT_A_SEGMENT, version ? "of the layout" : "is no segment",
                   [&] { receiver.receive(patience); });
            continue;
        }
        const Json& expected = vector["frame"];
        if (!expected) {
            CHECK(!receiver.receive(std::chrono::milliseconds(10)));
            CHECK(receiver.status() == Status::timeout);
            continue;
        }
        const Frame frame = take(receiver);
        CHECK(frame.via() == (vector["what"].string == "one slot" ? Via::copied : Via::leased));
        CHECK(frame.number() == expected["number"].number);
        CHECK(frame.shape().width == expected["width"].i32());
        CHECK(frame.shape().height == expected["height"].i32());
        CHECK(frame.info().sent_ms == expected["sent_ms"].i64());
        CHECK(frame.captured_ns() == expected["captured_ns"].number);
        CHECK(frame.meta() == expected["meta"].string);
        const std::string pixels = unhex(expected["pixels"].string);
        CHECK(frame.size() == pixels.size());
        CHECK(std::memcmp(frame.data(), pixels.data(), pixels.size()) == 0);
    }
}

TEST(words_of_latest_name_this_frame_or_none) {
    CHECK(!vectors["latest"].list.empty());
    for (const Json& vector : vectors["latest"].list) {
        // The first segment, with as many slots and this word.
        const std::string first = bytes_of(vectors["segments"].list.at(0));
        const std::uint64_t slots = vector["slots"].number;
        std::string bytes;
        for (std::uint64_t i = 0; i < slots; ++i) bytes += first.substr(2 * page_size, page_size);
        const std::size_t page = bytes.size();
        bytes += first.substr(first.size() - page_size);
        put(bytes, page + slots_at, static_cast<std::uint32_t>(slots));
        put(bytes, page + latest_at, vector["word"].number);
        const Json& number = vector["frame"];
        if (number) put(bytes, page + lines_at + 64 * vector["slot"].number, 2 * number.number);
        const Segment segment(bytes);
        Receiver receiver(segment.name());
        if (number) {
            CHECK(take(receiver).number() == number.number);
        } else {
            CHECK(!receiver.receive(std::chrono::milliseconds(10)));
            CHECK(receiver.status() == Status::timeout);
        }
    }
}

int main(int argc, char** argv) {
    CHECK(argc == 2);
    std::ifstream file(argv[1]);
    vectors = Json::read({std::istreambuf_iterator<char>(file), {}});
    return run_tests(1, argv);
}
