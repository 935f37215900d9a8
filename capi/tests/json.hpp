// As much JSON as vectors.json has: no escapes but of quotes, and whole numbers.
#pragma once

#include <cctype>
#include <cstdint>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

struct Json {
    enum class Kind { null, number, string, list, object } kind = Kind::null;
    // A negative number has its two's complement here.
    std::uint64_t number = 0;
    std::string string;
    std::vector<Json> list;
    std::map<std::string, Json> object;

    explicit operator bool() const { return kind != Kind::null; }
    std::int64_t i64() const { return static_cast<std::int64_t>(number); }
    std::int32_t i32() const { return static_cast<std::int32_t>(i64()); }
    // Null if there is no such part.
    const Json& operator[](const std::string& key) const {
        static const Json null;
        const auto found = object.find(key);
        return found == object.end() ? null : found->second;
    }

    static Json read(const std::string& text) {
        std::size_t at = 0;
        return value(text, at);
    }

private:
    static char next(const std::string& text, std::size_t& at) {
        while (at < text.size() && std::isspace(static_cast<unsigned char>(text[at]))) ++at;
        if (at == text.size()) throw std::runtime_error("the JSON ends too early");
        return text[at];
    }
    static bool skip(const std::string& text, std::size_t& at, char what) {
        if (next(text, at) != what) return false;
        ++at;
        return true;
    }
    static Json value(const std::string& text, std::size_t& at) {
        Json json;
        const char first = next(text, at);
        if (first == '{' || first == '[') {
            ++at;
            const char last = first == '{' ? '}' : ']';
            json.kind = first == '{' ? Kind::object : Kind::list;
            while (!skip(text, at, last)) {
                Json item = value(text, at);
                if (first == '[') {
                    json.list.push_back(item);
                } else {
                    if (!skip(text, at, ':')) throw std::runtime_error("no colon");
                    json.object[item.string] = value(text, at);
                }
                skip(text, at, ',');
            }
        } else if (first == '"') {
            json.kind = Kind::string;
            for (++at; text.at(at) != '"'; ++at) {
                if (text[at] == '\\') ++at;
                json.string += text.at(at);
            }
            ++at;
        } else if (text.compare(at, 4, "null") == 0) {
            at += 4;
        } else {
            json.kind = Kind::number;
            const bool negative = skip(text, at, '-');
            const std::size_t begin = at;
            while (std::isdigit(static_cast<unsigned char>(text.at(at)))) {
                json.number = json.number * 10 + static_cast<std::uint64_t>(text[at++] - '0');
            }
            if (at == begin) throw std::runtime_error("no JSON at " + text.substr(at, 20));
            if (negative) json.number = ~json.number + 1;
        }
        return json;
    }
};
