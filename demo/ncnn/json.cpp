#include "json.h"

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <stdexcept>

class JsonParser {
 public:
  explicit JsonParser(const std::string& text) : text_(text) {}

  Json document() {
    Json result = value("", 0);
    skip_space();
    if (at_ != text_.size()) fail("something follows the document");
    return result;
  }

 private:
  static constexpr int kMaxDepth = 100;

  [[noreturn]] void fail(const std::string& what) const {
    throw std::runtime_error("not JSON at byte " + std::to_string(at_) + ": " + what);
  }

  // The text ends with a zero, which is no part of any token.
  char peek() const { return text_.c_str()[at_]; }

  void skip_space() { at_ += std::strspn(text_.c_str() + at_, " \t\r\n"); }

  bool accept(const char* token) {
    skip_space();
    const size_t length = std::strlen(token);
    if (text_.compare(at_, length, token) != 0) return false;
    at_ += length;
    return true;
  }

  void require(const char* token) {
    if (!accept(token)) fail(std::string("no ") + token);
  }

  Json value(const std::string& path, int depth) {
    if (depth > kMaxDepth) fail("nested too deeply");
    Json result;
    result.path_ = path;
    if (accept("{")) {
      result.type_ = Json::Type::object;
      if (accept("}")) return result;
      do {
        require("\"");
        const std::string key = text();
        require(":");
        result.keys_.push_back(key);
        result.items_.push_back(value(path.empty() ? key : path + "." + key, depth + 1));
      } while (accept(","));
      require("}");
    } else if (accept("[")) {
      result.type_ = Json::Type::array;
      if (accept("]")) return result;
      do {
        result.items_.push_back(value(path + "[]", depth + 1));
      } while (accept(","));
      require("]");
    } else if (accept("\"")) {
      result.type_ = Json::Type::string;
      result.string_ = text();
    } else if (!accept("null")) {
      result.type_ = Json::Type::number;
      result.number_ = accept("true") ? 1 : accept("false") ? 0 : number();
    }
    return result;
  }

  double number() {
    const std::string token = text_.substr(at_, std::strspn(text_.c_str() + at_, "+-.0123456789eE"));
    char* end = nullptr;
    const double result = std::strtod(token.c_str(), &end);
    if (token.empty() || *end != '\0' || !std::isfinite(result)) fail("no value");
    at_ += token.size();
    return result;
  }

  // What follows a quotation mark, up to the next one.
  std::string text() {
    std::string result;
    for (; peek() != '"'; ++at_) {
      if (static_cast<unsigned char>(peek()) < 0x20) fail("a text has no end");
      if (peek() != '\\') {
        result += peek();
        continue;
      }
      ++at_;
      static const char codes[] = "\"\\/bfnrt", meanings[] = "\"\\/\b\f\n\r\t";
      const char* code = peek() ? std::strchr(codes, peek()) : nullptr;
      if (code)
        result += meanings[code - codes];
      else if (peek() == 'u')
        append_utf8(result, code_point());
      else
        fail("an unknown escape in a text");
    }
    ++at_;
    return result;
  }

  // The character of \\uXXXX, or of two of them where it lies beyond 16 bits. Stays on the last digit.
  unsigned code_point() {
    const unsigned first = four_digits();
    if (first < 0xD800 || first > 0xDFFF) return first;
    at_ += 2;
    const unsigned second = text_.compare(at_ - 1, 2, "\\u") == 0 ? four_digits() : 0;
    if (first > 0xDBFF || second < 0xDC00 || second > 0xDFFF) fail("half a character in a text");
    return 0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00);
  }

  unsigned four_digits() {
    const std::string digits = text_.substr(at_ + 1, 4);
    if (digits.size() != 4 || digits.find_first_not_of("0123456789abcdefABCDEF") != digits.npos)
      fail("\\u without four digits");
    at_ += 4;
    return static_cast<unsigned>(std::stoul(digits, nullptr, 16));
  }

  static void append_utf8(std::string& to, unsigned code) {
    const int more = code < 0x80 ? 0 : code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
    const unsigned marks[] = {0, 0xC0, 0xE0, 0xF0};
    to += static_cast<char>(marks[more] | (code >> (6 * more)));
    for (int i = more - 1; i >= 0; --i) to += static_cast<char>(0x80 | ((code >> (6 * i)) & 0x3F));
  }

  const std::string& text_;
  size_t at_ = 0;
};

Json Json::parse(const std::string& text) { return JsonParser(text).document(); }

const Json& Json::expect(Type type, const char* name) const {
  if (type_ != type) throw std::runtime_error("'" + path_ + "' is not " + name);
  return *this;
}

const Json& Json::operator[](const std::string& key) const {
  expect(Type::object, "an object");
  for (size_t i = 0; i < keys_.size(); ++i)
    if (keys_[i] == key) return items_[i];
  throw std::runtime_error("'" + (path_.empty() ? key : path_ + "." + key) + "' is missing");
}

const std::vector<std::string>& Json::keys() const { return expect(Type::object, "an object").keys_; }

const std::vector<Json>& Json::items() const { return expect(Type::array, "a list").items_; }

const std::string& Json::string() const { return expect(Type::string, "a text").string_; }

double Json::number() const { return expect(Type::number, "a number").number_; }

int Json::integer() const {
  if (number() != std::floor(number()) || std::fabs(number()) > 1e9)
    throw std::runtime_error("'" + path_ + "' is not an integer");
  return static_cast<int>(number());
}
