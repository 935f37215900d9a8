// Takes frames from `shm-bridge put` without shm-bridge, with zenoh-cpp 1.x over zenoh-c.
//
//     g++ -std=c++17 -DZENOHCXX_ZENOHC receive.cpp -lzenohc -o receive
//     ./receive robot/cam tcp/robot:7447
//
// Not compiled by the tests: no package of Debian or Ubuntu has zenoh-c.
#include <cstdint>
#include <cstdio>
#include <string>
#include <tuple>
#include <vector>

#include <zenoh.hxx>

// version, serial, session, number; width, height; channels, element, order;
// begun (the sender's monotonic clock), begun (its wall clock), captured; the sender's bytes
using Attachment =
    std::tuple<std::uint8_t, std::uint64_t, std::uint64_t, std::uint64_t, std::uint32_t, std::uint32_t,
               std::uint8_t, std::uint8_t, std::uint8_t, std::int64_t, std::int64_t, std::uint64_t,
               std::vector<std::uint8_t>>;

int main(int argc, char** argv) {
    if (argc != 3) {
        std::fprintf(stderr, "usage: receive KEY ENDPOINT\n");
        return 2;
    }
    auto config = zenoh::Config::create_default();
    config.insert_json5("connect/endpoints", "[\"" + std::string(argv[2]) + "\"]");
    config.insert_json5("scouting/multicast/enabled", "false");
    auto session = zenoh::Session::open(std::move(config));
    // The newest alone: what is there already is replaced.
    auto subscriber = session.declare_subscriber(zenoh::KeyExpr(argv[1]), zenoh::channels::RingChannel(1));
    for (;;) {
        auto received = subscriber.handler().recv();
        if (!std::holds_alternative<zenoh::Sample>(received)) {
            return 0;
        }
        const auto& sample = std::get<zenoh::Sample>(received);
        const auto attachment = sample.get_attachment();
        if (!attachment.has_value()) {
            continue;
        }
        const auto [version, serial, session_id, number, width, height, channels, element, order, begun,
                    begun_unix, captured, meta] = zenoh::ext::deserialize<Attachment>(attachment->get());
        // height * width * channels elements of a type: u8, i8, u16, i16, i32, f32, f64, f16.
        // For cv::Mat: cv::Mat(height, width, CV_MAKETYPE(element, channels), pixels.data())
        const std::vector<std::uint8_t> pixels = sample.get_payload().as_vector();
        std::printf("version %d, frame %llu, %ux%ux%d, element %d, %zu bytes, %zu of the sender's own\n",
                    version, static_cast<unsigned long long>(number), width, height, channels, element,
                    pixels.size(), meta.size());
    }
}
