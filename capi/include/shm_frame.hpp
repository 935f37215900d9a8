// Hands whole images from one process to another on the same Linux machine, through POSIX shared
// memory. C++17, over shm_frame.h, which says more of each call.
//
// With OpenCV, include <opencv2/core.hpp> before this header, or define SHM_FRAME_OPENCV.
//
//     shm_frame::Sender sender("/cam");
//     auto loan = sender.loan({640, 480, shm_frame::bgr8});
//     cv::Mat image = loan.mat();                    // decode, resize or draw into it
//     std::move(loan).publish();
//
//     shm_frame::Receiver receiver("/cam");          // follows the name: may start first
//     while (auto frame = receiver.receive(1s)) {    // std::optional<Frame>
//         use(frame->mat());                         // a view, as long as the frame lives
//         queue.push(std::move(*frame).mat());       // a Mat whose last copy ends the lease
//     }
#ifndef SHM_FRAME_HPP
#define SHM_FRAME_HPP

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include "shm_frame.h"

namespace cv {
class Mat;
}

namespace shm_frame {

// What went wrong, in words, and the negative status of shm_frame.h.
class Error : public std::runtime_error {
public:
    explicit Error(int code) : std::runtime_error(shmf_last_error()), code_(code) {}
    Error(int code, const std::string& words) : std::runtime_error(words), code_(code) {}
    int code() const noexcept { return code_; }

private:
    int code_;
};

namespace detail {
inline int check(int status) {
    if (status < 0) throw Error(status);
    return status;
}
struct Delete {
    void operator()(const shmf_frame* frame) const noexcept { shmf_frame_release(frame); }
    void operator()(shmf_receiver* receiver) const noexcept { shmf_receiver_destroy(receiver); }
    void operator()(shmf_sender* sender) const noexcept { shmf_sender_destroy(sender); }
};
}  // namespace detail

enum class Element : std::int32_t {
    u8 = SHMF_U8,
    i8 = SHMF_I8,
    u16 = SHMF_U16,
    i16 = SHMF_I16,
    i32 = SHMF_I32,
    f32 = SHMF_F32,
    f64 = SHMF_F64,
    f16 = SHMF_F16,
};

enum class Order : std::int32_t { bgr = SHMF_BGR, rgb = SHMF_RGB };

// What a pixel is: 1 to 4 elements, and for 3 and 4 which colour comes first.
class Format {
public:
    constexpr Format(int channels, Element element = Element::u8, Order order = Order::bgr) noexcept
        : word_(SHMF_FORMAT(channels, static_cast<std::int32_t>(element),
                            static_cast<std::int32_t>(order))) {}
    // From the word of shm_frame.h, and the 24-byte header.
    static constexpr Format from_word(std::int32_t word) noexcept {
        Format format(1);
        format.word_ = word;
        return format;
    }
    constexpr std::int32_t word() const noexcept { return word_; }
    constexpr int channels() const noexcept { return SHMF_CHANNELS(word_); }
    constexpr Element element() const noexcept { return Element(SHMF_ELEMENT(word_)); }
    constexpr Order order() const noexcept { return Order(SHMF_ORDER(word_)); }
    // OpenCV's type: CV_8UC3 and the like. It knows of no order.
    constexpr int cv_type() const noexcept {
        return SHMF_ELEMENT(word_) | (SHMF_CHANNELS(word_) - 1) << 3;
    }
    friend constexpr bool operator==(Format a, Format b) noexcept { return a.word_ == b.word_; }
    friend constexpr bool operator!=(Format a, Format b) noexcept { return a.word_ != b.word_; }

private:
    std::int32_t word_;
};

inline constexpr Format gray8(1);
inline constexpr Format bgr8(3);
inline constexpr Format bgra8(4);
inline constexpr Format rgb8(3, Element::u8, Order::rgb);
inline constexpr Format rgba8(4, Element::u8, Order::rgb);
inline constexpr Format gray16(1, Element::u16);
inline constexpr Format gray32f(1, Element::f32);

struct Shape {
    std::int32_t width;
    std::int32_t height;
    Format format;

    operator shmf_shape() const noexcept { return {width, height, format.word()}; }
    // Of all pixels; 0 if no image has this shape.
    std::size_t bytes() const noexcept { return shmf_shape_bytes(*this); }
    friend constexpr bool operator==(const Shape& a, const Shape& b) noexcept {
        return a.width == b.width && a.height == b.height && a.format == b.format;
    }
    friend constexpr bool operator!=(const Shape& a, const Shape& b) noexcept { return !(a == b); }
};

// What a sender tells of a frame besides its pixels.
struct Extras {
    std::uint64_t captured_ns = 0;  // Unix time in ns at which the picture was taken; 0: not known
    std::string_view meta = {};     // bytes of the sender's own: JSON by convention
};

namespace detail {
template <class T>
constexpr bool is_element(Element element) noexcept {
    switch (element) {
        case Element::u8: return std::is_same_v<T, std::uint8_t>;
        case Element::i8: return std::is_same_v<T, std::int8_t>;
        case Element::u16: return std::is_same_v<T, std::uint16_t>;
        case Element::i16: return std::is_same_v<T, std::int16_t>;
        case Element::i32: return std::is_same_v<T, std::int32_t>;
        case Element::f32: return std::is_same_v<T, float>;
        case Element::f64: return std::is_same_v<T, double>;
        case Element::f16: return false;  // C++17 has no type for it; OpenCV has
    }
    return false;
}
template <class T>
T* elements(Format format, std::conditional_t<std::is_const_v<T>, const void, void>* pixels) {
    if (!is_element<std::remove_const_t<T>>(format.element())) {
        throw Error(SHMF_INVALID, "the frame's elements are of another type: see its format");
    }
    return static_cast<T*>(pixels);
}
inline shmf_extras c_extras(const Extras& extras) noexcept {
    return {sizeof(shmf_extras), extras.captured_ns, extras.meta.data(), extras.meta.size()};
}
}  // namespace detail

// How a frame came over: read in place; copied, and known to be whole; copied from a sender that
// knows only the 24-byte header, so that it may be torn; or read in place by a receiver that may
// only read the segment.
enum class Via : std::int32_t {
    leased = SHMF_LEASED,
    copied = SHMF_COPIED,
    plain = SHMF_PLAIN,
    leased_read_only = SHMF_LEASED_READ_ONLY,
};

// A frame that was received. It does not change while it is held, and may be used and let go of in
// any thread.
class Frame {
public:
    std::uint64_t number() const noexcept { return frame_->number; }
    std::uint64_t skipped() const noexcept { return frame_->skipped; }
    Shape shape() const noexcept {
        const shmf_shape& shape = frame_->shape;
        return {shape.width, shape.height, Format::from_word(shape.format)};
    }
    Via via() const noexcept { return Via(frame_->via); }
    std::chrono::nanoseconds delay() const noexcept {
        return std::chrono::nanoseconds(frame_->delay_ns);
    }
    // Unix time in ns at which the picture was taken; 0: not known.
    std::uint64_t captured_ns() const noexcept { return frame_->captured_ns; }
    // The sender's own bytes: JSON by convention.
    std::string_view meta() const noexcept {
        return {static_cast<const char*>(frame_->meta), frame_->meta_len};
    }
    const std::uint8_t* data() const noexcept {
        return static_cast<const std::uint8_t*>(frame_->pixels);
    }
    std::size_t size() const noexcept { return frame_->pixels_len; }
    // The pixels as elements; throws if they are of another type.
    template <class T>
    const T* elements() const {
        return detail::elements<const T>(shape().format, frame_->pixels);
    }
    // false: another process truncated or overwrote the segment meanwhile, and parts were read as
    // zeros; or it made this process lose a lease of a segment that it may only read, and parts
    // were read of another frame. Ask before using a result.
    bool is_intact() const noexcept { return shmf_frame_is_intact(frame_.get()); }
    // All that is known of it.
    const shmf_frame& info() const noexcept { return *frame_; }

    // A view of the pixels, as long as this frame lives. It is for reading: the memory is mapped
    // read-only, and writing there is a SIGSEGV. clone() or copyTo() what you change.
    cv::Mat mat() const&;
    // The same, and the last copy of the Mat lets go of the frame: std::move(frame).mat().
    cv::Mat mat() &&;

private:
    friend class Receiver;
    explicit Frame(const shmf_frame* frame) noexcept : frame_(frame) {}

    std::unique_ptr<const shmf_frame, detail::Delete> frame_;
};

enum class WaitMode : std::uint32_t {
    sleep = SHMF_SLEEP,
    predict = SHMF_PREDICT,
    spin = SHMF_SPIN,
};

// Why there is no frame.
enum class Status {
    ok = SHMF_OK,
    timeout = SHMF_TIMEOUT,      // no new frame in time
    no_sender = SHMF_NO_SENDER,  // no new frame in time, and there is no sender
    ended = SHMF_ENDED,          // the sender ended; the next call looks for the next sender
    cancelled = SHMF_CANCELLED,  // cancel() was called
};

// Follows a name: sender and receiver may start in any order, and each may be restarted.
class Receiver {
public:
    // read_only: opens segments for reading only, even if this process may write them.
    explicit Receiver(const std::string& name, WaitMode mode = WaitMode::sleep,
                      bool read_only = false) {
        shmf_receiver_options options = {};
        options.size = sizeof options;
        options.wait_mode = static_cast<std::uint32_t>(mode);
        options.read_only = read_only;
        shmf_receiver* receiver = nullptr;
        detail::check(shmf_receiver_open(name.c_str(), &options, &receiver));
        receiver_.reset(receiver);
    }
    // Waits for a frame that is newer than the last one taken. Without one, status() says why.
    std::optional<Frame> receive(std::chrono::nanoseconds timeout) {
        return wait(timeout.count() < 0 ? 0 : timeout.count());
    }
    // The same for ever: without a frame, the sender ended or cancel() was called.
    std::optional<Frame> receive() { return wait(-1); }
    Status status() const noexcept { return status_; }
    // Ends the receive() that is going on, or else the next one. Any thread may call it, and signal
    // handlers.
    void cancel() const noexcept { shmf_receiver_cancel(receiver_.get()); }

private:
    std::optional<Frame> wait(std::int64_t timeout_ns) {
        const shmf_frame* frame = nullptr;
        const int status = shmf_receiver_receive(receiver_.get(), timeout_ns, &frame);
        status_ = Status(detail::check(status));
        if (frame == nullptr) return std::nullopt;
        return Frame(frame);
    }

    std::unique_ptr<shmf_receiver, detail::Delete> receiver_;
    Status status_ = Status::ok;
};

// A slot to be filled in place. Let go of without publish(), nobody sees it. It keeps its sender,
// and is used in the sender's thread.
class Loan {
public:
    Loan(Loan&&) noexcept = default;
    Loan& operator=(Loan&& other) noexcept {
        if (this != &other) {
            discard();
            sender_ = std::move(other.sender_);
            pixels_ = other.pixels_;
            shape_ = other.shape_;
        }
        return *this;
    }
    ~Loan() { discard(); }

    Shape shape() const noexcept { return shape_; }
    // Rows without padding, to be written until the loan ends.
    std::uint8_t* data() noexcept { return static_cast<std::uint8_t*>(pixels_); }
    std::size_t size() const noexcept { return shape_.bytes(); }
    // The pixels as elements; throws if they are of another type.
    template <class T>
    T* elements() {
        return detail::elements<T>(shape_.format, pixels_);
    }
    // Makes the frame visible, and says its number: std::move(loan).publish().
    std::uint64_t publish(const Extras& extras = {}) && {
        const shmf_extras c_extras = detail::c_extras(extras);
        std::uint64_t number = 0;
        const int status = shmf_sender_publish_loan(sender_.get(), &c_extras, &number);
        // Then it is still open.
        if (status != SHMF_INVALID) sender_.reset();
        detail::check(status);
        return number;
    }

    // To decode, resize or draw into, until the loan ends. OpenCV puts an image of another size or
    // type elsewhere: ask is_filled_by() then.
    cv::Mat mat();
    bool is_filled_by(const cv::Mat& image) const;

private:
    friend class Sender;
    Loan(std::shared_ptr<shmf_sender> sender, void* pixels, Shape shape) noexcept
        : sender_(std::move(sender)), pixels_(pixels), shape_(shape) {}
    void discard() noexcept {
        if (sender_) shmf_sender_discard_loan(sender_.get());
        sender_.reset();
    }

    std::shared_ptr<shmf_sender> sender_;
    void* pixels_;
    Shape shape_;
};

// The one process that writes a segment. At its end, and that of its loan, the name is removed.
class Sender {
public:
    explicit Sender(const std::string& name, shmf_sender_options options = {}) {
        options.size = sizeof options;
        shmf_sender* sender = nullptr;
        detail::check(shmf_sender_create(name.c_str(), &options, &sender));
        sender_ = std::shared_ptr<shmf_sender>(sender, detail::Delete());
    }
    // A loan holds the sender by this, so there is one owner.
    Sender(Sender&&) noexcept = default;
    Sender& operator=(Sender&&) noexcept = default;

    // Copies an image and publishes it; says its number. stride: bytes from row to row, 0 for no
    // padding.
    std::uint64_t publish(Shape shape, const void* pixels, std::size_t stride = 0,
                          const Extras& extras = {}) {
        const shmf_extras c_extras = detail::c_extras(extras);
        std::uint64_t number = 0;
        detail::check(
            shmf_sender_publish(sender_.get(), shape, pixels, stride, &c_extras, &number));
        return number;
    }
    // The same with a Mat of up to 4 channels, a part of a larger one as well.
    std::uint64_t publish(const cv::Mat& image, const Extras& extras = {},
                          Order order = Order::bgr);
    // Lends a slot to be filled in place. meta_room: bytes of meta that the frame may get.
    Loan loan(Shape shape, std::size_t meta_room = 0) {
        void* pixels = nullptr;
        detail::check(shmf_sender_loan(sender_.get(), shape, meta_room, &pixels));
        return Loan(sender_, pixels, shape);
    }
    // For a sender that publishes less than ten times a second: looks after the segment.
    void tend() { detail::check(shmf_sender_tend(sender_.get())); }

private:
    std::shared_ptr<shmf_sender> sender_;
};

}  // namespace shm_frame

#endif  // SHM_FRAME_HPP

#if (defined(SHM_FRAME_OPENCV) || defined(OPENCV_CORE_MAT_HPP)) && !defined(SHM_FRAME_HPP_OPENCV)
#define SHM_FRAME_HPP_OPENCV

#include <opencv2/core.hpp>

namespace shm_frame {

namespace detail {
// How OpenCV lets go of memory that it did not allocate.
class FrameAllocator final : public cv::MatAllocator {
public:
    // It is never destroyed: Mats may be let go of after main().
    static const FrameAllocator& instance() {
        static const FrameAllocator* const allocator = new FrameAllocator;
        return *allocator;
    }
    cv::Mat mat(Frame&& frame) const {
        cv::Mat mat = static_cast<const Frame&>(frame).mat();
        auto owner = std::make_unique<Frame>(std::move(frame));
        auto data = std::make_unique<cv::UMatData>(this);
        data->data = data->origdata = mat.data;
        data->size = owner->size();
        data->refcount = 1;
        data->userdata = owner.release();
        mat.u = data.release();
        return mat;
    }
    // A Mat has another allocator for what it is made to hold next.
    cv::UMatData* allocate(int dims, const int* sizes, int type, void* data, std::size_t* step,
                           cv::AccessFlag flags, cv::UMatUsageFlags usage) const override {
        return cv::Mat::getStdAllocator()->allocate(dims, sizes, type, data, step, flags, usage);
    }
    bool allocate(cv::UMatData* data, cv::AccessFlag flags,
                  cv::UMatUsageFlags usage) const override {
        return cv::Mat::getStdAllocator()->allocate(data, flags, usage);
    }
    void deallocate(cv::UMatData* data) const override {
        if (data == nullptr) return;
        const std::unique_ptr<Frame> frame(static_cast<Frame*>(data->userdata));
        delete data;
    }
};
}  // namespace detail

inline cv::Mat Frame::mat() const& {
    const Shape shape = this->shape();
    return cv::Mat(shape.height, shape.width, shape.format.cv_type(),
                   const_cast<std::uint8_t*>(data()));
}

inline cv::Mat Frame::mat() && { return detail::FrameAllocator::instance().mat(std::move(*this)); }

inline cv::Mat Loan::mat() {
    return cv::Mat(shape_.height, shape_.width, shape_.format.cv_type(), pixels_);
}

inline bool Loan::is_filled_by(const cv::Mat& image) const {
    return image.data == pixels_ && image.rows == shape_.height && image.cols == shape_.width &&
           image.type() == shape_.format.cv_type();
}

inline std::uint64_t Sender::publish(const cv::Mat& image, const Extras& extras, Order order) {
    if (image.dims != 2 || image.empty()) {
        throw Error(SHMF_INVALID, "the Mat is empty or has more than 2 dimensions");
    }
    if (image.channels() > 4) {
        throw Error(SHMF_INVALID, "the Mat has " + std::to_string(image.channels()) +
                                      " channels: a frame has up to 4");
    }
    const Format format(image.channels(), Element(image.depth()), order);
    return publish({image.cols, image.rows, format}, image.data, image.step[0], extras);
}

}  // namespace shm_frame

#endif  // SHM_FRAME_HPP_OPENCV
