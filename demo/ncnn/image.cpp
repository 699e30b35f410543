#include "image.h"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <limits>
#include <stdexcept>

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

// For each pixel of a line of `out` pixels: the first pixel of the line of `in` pixels that it is made
// of, and the weights of this and the following ones, in units of 2^-kBits.
constexpr int kBits = 22;
struct Taps {
  int first;
  std::vector<int32_t> weights;
};

std::vector<Taps> triangle_filter(int in, int out) {
  const double scale = static_cast<double>(in) / out;
  const double support = std::max(scale, 1.0);
  std::vector<Taps> result(out);
  for (int i = 0; i < out; ++i) {
    const double center = (i + 0.5) * scale;
    const int first = std::max(0, static_cast<int>(center - support + 0.5));
    const int end = std::min(in, static_cast<int>(center + support + 0.5));
    std::vector<double> weights;
    double total = 0;
    for (int x = first; x < end; ++x) {
      weights.push_back(std::max(0.0, 1.0 - std::fabs((x - center + 0.5) / support)));
      total += weights.back();
    }
    result[i].first = first;
    for (double weight : weights)
      result[i].weights.push_back(static_cast<int32_t>(0.5 + weight / total * (1 << kBits)));
  }
  return result;
}

// Filters `lines` lines of pixels; pixel i of line l of the input begins at byte l * in_line + i * in_step.
void filter(const std::vector<Taps>& taps, int lines, const uint8_t* in, size_t in_line, size_t in_step,
            uint8_t* out, size_t out_line, size_t out_step) {
  for (int line = 0; line < lines; ++line) {
    for (size_t i = 0; i < taps.size(); ++i) {
      const uint8_t* source = in + line * in_line + taps[i].first * in_step;
      int64_t sums[3] = {1 << (kBits - 1), 1 << (kBits - 1), 1 << (kBits - 1)};
      for (const int32_t weight : taps[i].weights) {
        for (int c = 0; c < 3; ++c) sums[c] += static_cast<int64_t>(weight) * source[c];
        source += in_step;
      }
      uint8_t* target = out + line * out_line + i * out_step;
      for (int c = 0; c < 3; ++c)
        target[c] = static_cast<uint8_t>(std::min<int64_t>(sums[c] >> kBits, 255));
    }
  }
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

Image resize(const Image& image, int width, int height) {
  const size_t in_row = static_cast<size_t>(image.width) * 3, out_row = static_cast<size_t>(width) * 3;
  std::vector<uint8_t> wide(out_row * image.height);
  filter(triangle_filter(image.width, width), image.height, image.rgb.data(), in_row, 3, wide.data(),
         out_row, 3);
  Image result{width, height, std::vector<uint8_t>(out_row * height)};
  filter(triangle_filter(image.height, height), width, wide.data(), 3, out_row, result.rgb.data(), 3,
         out_row);
  return result;
}

std::array<int, 2> fitted_size(int width, int height, int net_width, int net_height) {
  const double scale = std::min(static_cast<double>(net_width) / width,
                                static_cast<double>(net_height) / height);
  return {std::max(1, static_cast<int>(std::lrint(width * scale))),
          std::max(1, static_cast<int>(std::lrint(height * scale)))};
}
