#include "frame.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <string>

namespace {

constexpr int kMaxSide = 16384;

uint8_t to_byte(float value) { return static_cast<uint8_t>(std::clamp(std::lrint(value), 0L, 255L)); }

// Gives a pixel of a frame in RGB.
struct Reader {
  const MobileInstFrame& frame;
  size_t stride;
  const uint8_t* chroma;
  int step, red, blue;  // bytes per pixel and which of them; of planes: which of a pair is U

  explicit Reader(const MobileInstFrame& given) : frame(given), step(1), red(0), blue(2) {
    switch (frame.format) {
      case MOBILEINST_RGB: step = 3; break;
      case MOBILEINST_BGR: step = 3, red = 2, blue = 0; break;
      case MOBILEINST_RGBA: step = 4; break;
      case MOBILEINST_BGRA: step = 4, red = 2, blue = 0; break;
      case MOBILEINST_NV21:
      case MOBILEINST_NV12: break;
      default: throw std::runtime_error("the format of the frame is unknown");
    }
    const size_t least = static_cast<size_t>(frame.width) * step;
    stride = frame.row_stride ? frame.row_stride : least;
    if (stride < least)
      throw std::runtime_error("the row stride of the frame is less than " + std::to_string(least) + " bytes");
    if (step == 1 && (frame.width % 2 || frame.height % 2))
      throw std::runtime_error("the sides of a frame in NV21 or NV12 are not even");
    chroma = frame.chroma ? frame.chroma : frame.pixels + stride * frame.height;
  }

  void read(int x, int y, uint8_t* rgb) const {
    if (step > 1) {
      const uint8_t* pixel = frame.pixels + stride * y + static_cast<size_t>(x) * step;
      rgb[0] = pixel[red], rgb[1] = pixel[1], rgb[2] = pixel[blue];
      return;
    }
    const uint8_t* pair = chroma + stride * (y / 2) + (x & ~1);
    const bool is_nv21 = frame.format == MOBILEINST_NV21;
    const float luminance = frame.pixels[stride * y + x];
    const float v = pair[is_nv21 ? 0 : 1] - 128.0f, u = pair[is_nv21 ? 1 : 0] - 128.0f;
    rgb[0] = to_byte(luminance + 1.402f * v);
    rgb[1] = to_byte(luminance - 0.344136f * u - 0.714136f * v);
    rgb[2] = to_byte(luminance + 1.772f * u);
  }
};

}  // namespace

Image upright_rgb(const MobileInstFrame& frame) {
  if (!frame.pixels) throw std::runtime_error("the frame has no pixels");
  if (frame.width < 1 || frame.width > kMaxSide || frame.height < 1 || frame.height > kMaxSide)
    throw std::runtime_error("the sides of the frame are not between 1 and " + std::to_string(kMaxSide));
  if (frame.rotation != 0 && frame.rotation != 90 && frame.rotation != 180 && frame.rotation != 270)
    throw std::runtime_error("the rotation of the frame is none of 0, 90, 180 and 270");
  const Reader reader(frame);
  const bool is_turned = frame.rotation % 180 != 0;
  const int width = is_turned ? frame.height : frame.width, height = is_turned ? frame.width : frame.height;
  Image image{width, height, std::vector<uint8_t>(static_cast<size_t>(width) * height * 3)};
  uint8_t* target = image.rgb.data();
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x, target += 3) {
      switch (frame.rotation) {
        case 0: reader.read(x, y, target); break;
        case 90: reader.read(y, frame.height - 1 - x, target); break;
        case 180: reader.read(frame.width - 1 - x, frame.height - 1 - y, target); break;
        default: reader.read(frame.width - 1 - y, x, target);
      }
    }
  }
  return image;
}
