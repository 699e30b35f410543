#include "results.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <iomanip>
#include <sstream>
#include <vector>

#include <mat.h>

namespace {

std::string quoted(const std::string& text) {
  std::ostringstream out;
  out << '"';
  for (const char c : text) {
    if (static_cast<unsigned char>(c) < 0x20)
      out << "\\u" << std::hex << std::setw(4) << std::setfill('0') << static_cast<int>(c);
    else
      out << (c == '"' || c == '\\' ? "\\" : "") << c;
  }
  out << '"';
  return out.str();
}

// Hues a golden ratio apart are never close together.
std::array<int, 3> color_of(int identity) {
  const double hue = std::fmod(identity * 0.618034, 1.0) * 6;
  std::array<int, 3> color;
  for (int c = 0; c < 3; ++c) {
    const double distance = std::fabs(std::fmod(hue + 6 - 2 * c, 6.0) - 3);  // 3 at the channel's own hue
    color[c] = static_cast<int>(255 * std::clamp(distance - 1, 0.0, 1.0));
  }
  return color;
}

void draw_mask(Image& frame, const MobileInstInstance& instance) {
  const std::array<int, 3> color = color_of(instance.id);
  const int width = instance.x1 - instance.x0;
  for (int y = instance.y0; y < instance.y1; ++y) {
    for (int x = instance.x0; x < instance.x1; ++x) {
      const bool is_edge =
          y == instance.y0 || y == instance.y1 - 1 || x == instance.x0 || x == instance.x1 - 1;
      if (!is_edge && !instance.mask[static_cast<size_t>(y - instance.y0) * width + x - instance.x0]) continue;
      uint8_t* pixel = frame.rgb.data() + (static_cast<size_t>(y) * frame.width + x) * 3;
      for (int c = 0; c < 3; ++c)
        pixel[c] = static_cast<uint8_t>(is_edge ? color[c] : (pixel[c] + color[c]) / 2);
    }
  }
}

#if NCNN_PIXEL_DRAWING
void draw_label(Image& frame, const MobileInstInstance& instance) {
  std::ostringstream text;
  text << '#' << instance.id << ' ';
  for (const char* c = instance.class_name; *c; ++c)  // of UTF-8 the font has ASCII alone
    if (static_cast<unsigned char>(*c) < 0x80) text << *c;
  text << ' ' << std::fixed << std::setprecision(2) << instance.score;
  const int size = std::max(10, std::max(frame.width, frame.height) / 40);
  int width = 0, height = 0;
  ncnn::get_text_drawing_size(text.str().c_str(), size, &width, &height);
  const int x = std::max(0, std::min(instance.x0, frame.width - width));
  const int y = std::max(0, instance.y0 - height);
  const std::array<int, 3> color = color_of(instance.id);
  const unsigned packed = color[0] | color[1] << 8 | color[2] << 16;
  ncnn::draw_rectangle_c3(frame.rgb.data(), frame.width, frame.height, x, y, width, height, 0x191919, -1);
  ncnn::draw_text_c3(frame.rgb.data(), frame.width, frame.height, text.str().c_str(), x, y, size, packed);
}
#else
void draw_label(Image&, const MobileInstInstance&) {}
#endif

}  // namespace

std::string encode_mask(const MobileInstInstance& instance, int frame_width, int frame_height) {
  // Lengths of runs of equal pixels, column by column, beginning with the background.
  std::vector<int64_t> runs;
  int64_t end = 0;  // of the last run of foreground
  const int width = instance.x1 - instance.x0;
  for (int x = instance.x0; x < instance.x1; ++x) {
    for (int y = instance.y0; y < instance.y1; ++y) {
      if (!instance.mask[static_cast<size_t>(y - instance.y0) * width + x - instance.x0]) continue;
      const int64_t at = static_cast<int64_t>(x) * frame_height + y;
      if (runs.empty() || at != end) runs.insert(runs.end(), {at - end, 0});
      ++runs.back();
      end = at + 1;
    }
  }
  const int64_t total = static_cast<int64_t>(frame_width) * frame_height;
  if (end < total) runs.push_back(total - end);

  // From the fourth on, each as the difference to the one two places before; five bits per letter,
  // the lowest first, with a sixth that says that more follow.
  std::string text;
  for (size_t i = 0; i < runs.size(); ++i) {
    int64_t rest = i > 2 ? runs[i] - runs[i - 2] : runs[i];
    for (bool more = true; more;) {
      const int bits = static_cast<int>(rest & 31);
      rest >>= 5;
      more = rest != (bits & 16 ? -1 : 0);
      text += static_cast<char>(48 + bits + (more ? 32 : 0));
    }
  }
  return text;
}

std::string describe(int number, const MobileInstResult& result) {
  std::ostringstream line;
  line << "{\"frame\": " << number << ", \"is_keyframe\": " << (result.is_keyframe ? "true" : "false")
       << ", \"instances\": [";
  for (int i = 0; i < result.count; ++i) {
    const MobileInstInstance& x = result.instances[i];
    line << (i ? ", " : "") << "{\"id\": " << x.id << ", \"class\": " << x.class_index
         << ", \"name\": " << quoted(x.class_name) << ", \"score\": " << x.score << ", \"box\": [" << x.x0
         << ", " << x.y0 << ", " << x.x1 << ", " << x.y1 << "], \"segmentation\": {\"size\": ["
         << result.height << ", " << result.width
         << "], \"counts\": " << quoted(encode_mask(x, result.width, result.height)) << "}}";
  }
  line << "]}";
  return line.str();
}

void draw(Image& frame, const MobileInstResult& result) {
  for (int i = 0; i < result.count; ++i) draw_mask(frame, result.instances[i]);
  for (int i = 0; i < result.count; ++i) draw_label(frame, result.instances[i]);
}
