#include "ppm.h"

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <limits>
#include <stdexcept>

namespace fs = std::filesystem;

namespace {

constexpr int kMaxSide = 16384;

// Reads a number of a PPM header; "#" begins a comment.
int header_number(std::istream& stream) {
  while (stream >> std::ws && stream.peek() == '#')
    stream.ignore(std::numeric_limits<std::streamsize>::max(), '\n');
  int number = -1;
  stream >> number;
  return stream ? number : -1;
}

// frame2 before frame10: numbers are filled up with zeros.
std::string natural_key(const std::string& text) {
  std::string result, digits;
  for (const char c : text + " ") {
    if (std::isdigit(static_cast<unsigned char>(c))) {
      digits += c;
      continue;
    }
    if (!digits.empty()) result += std::string(20 - std::min<size_t>(20, digits.size()), '0') + digits;
    digits.clear();
    result += c;
  }
  return result;
}

}  // namespace

bool read_ppm(std::istream& stream, Image& image) {
  if (stream.peek() == std::istream::traits_type::eof()) return false;
  char magic[2] = {};
  stream.read(magic, 2);
  if (magic[0] != 'P' || magic[1] != '6')
    throw std::runtime_error("this is no binary PPM image (it does not begin with P6)");
  image.width = header_number(stream);
  image.height = header_number(stream);
  const int maximum = header_number(stream);
  if (image.width < 1 || image.width > kMaxSide || image.height < 1 || image.height > kMaxSide)
    throw std::runtime_error("a PPM image has no sides between 1 and " + std::to_string(kMaxSide));
  if (maximum != 255) throw std::runtime_error("a PPM image has not 8 bits per channel");
  stream.get();  // the one blank before the pixels
  image.rgb.resize(static_cast<size_t>(image.width) * image.height * 3);
  stream.read(reinterpret_cast<char*>(image.rgb.data()), static_cast<std::streamsize>(image.rgb.size()));
  if (!stream) throw std::runtime_error("a PPM image is cut off");
  return true;
}

void write_ppm(const std::string& path, const Image& image) {
  std::ofstream file(path, std::ios::binary);
  file << "P6\n" << image.width << " " << image.height << "\n255\n";
  file.write(reinterpret_cast<const char*>(image.rgb.data()),
             static_cast<std::streamsize>(image.rgb.size()));
  file.close();
  if (!file) throw std::runtime_error("cannot write " + path);
}

PpmFrames::PpmFrames(const std::string& input) {
  if (input == "-") return;
  if (!fs::is_directory(input)) throw std::runtime_error("there is no folder " + input);
  for (const fs::directory_entry& entry : fs::directory_iterator(input))
    if (entry.path().extension() == ".ppm") files_.push_back(entry.path().string());
  if (files_.empty()) throw std::runtime_error("the folder " + input + " holds no .ppm image");
  std::sort(files_.begin(), files_.end(),
            [](const std::string& a, const std::string& b) { return natural_key(a) < natural_key(b); });
  is_stream_ = false;
}

bool PpmFrames::next(Image& frame) {
  if (is_stream_) return read_ppm(std::cin, frame);
  if (next_ == files_.size()) return false;
  const std::string& path = files_[next_++];
  try {
    std::ifstream file(path, std::ios::binary);
    if (!file || !read_ppm(file, frame)) throw std::runtime_error("it cannot be read or is empty");
  } catch (const std::exception& error) {
    throw std::runtime_error(path + ": " + error.what());
  }
  return true;
}
