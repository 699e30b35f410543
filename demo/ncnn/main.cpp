// Tracks instances in a video with the library, or measures how long it takes.

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iomanip>
#include <iostream>
#include <memory>
#include <sstream>
#include <stdexcept>
#include <vector>

#include "mobileinst.h"
#include "ppm.h"
#include "results.h"

namespace fs = std::filesystem;

namespace {

const char kUsage[] =
    "usage: mobileinst_ncnn MODEL INPUT OUTPUT [options]    track a video\n"
    "       mobileinst_ncnn MODEL [INPUT] --benchmark N     time N key frames and N others\n"
    "  MODEL          folder made by tools/export.py --format ncnn\n"
    "  INPUT          folder with one PPM image per frame, or - for a stream of PPM images;\n"
    "                 without it, --benchmark takes frames of 1280x720 that show nothing\n"
    "  OUTPUT         folder for results.jsonl and for the frames with masks\n"
    "  --clip-len T   every T-th frame is a key frame, the others reuse its kernels (default: as exported);\n"
    "                 1 with --benchmark: key frames alone\n"
    "  --threads N    CPU threads (default 1)\n"
    "  --fp16         store and compute in half precision where the processor can\n"
    "  --no-images    write results.jsonl alone\n"
    "  --help         this\n";

struct Arguments {
  std::vector<std::string> paths;
  MobileInstOptions options{};
  int benchmark = 0;  // frames of each kind
  bool images = true;
  bool help = false;
};

int positive(const std::string& option, const std::string& text) {
  char* end = nullptr;
  const long value = std::strtol(text.c_str(), &end, 10);
  if (text.empty() || *end != '\0' || value < 1 || value > 1000)
    throw std::runtime_error(option + " is \"" + text + "\", it must be a number from 1 to 1000");
  return static_cast<int>(value);
}

Arguments parse(const std::vector<std::string>& words) {
  Arguments arguments;
  for (size_t i = 0; i < words.size(); ++i) {
    const std::string& word = words[i];
    const auto number = [&] { return positive(word, ++i < words.size() ? words[i] : ""); };
    if (word == "--help" || word == "-h")
      arguments.help = true;
    else if (word == "--fp16")
      arguments.options.fp16 = 1;
    else if (word == "--no-images")
      arguments.images = false;
    else if (word == "--clip-len")
      arguments.options.clip_len = number();
    else if (word == "--threads")
      arguments.options.threads = number();
    else if (word == "--benchmark")
      arguments.benchmark = number();
    else if (word.size() > 1 && word[0] == '-')
      throw std::runtime_error("there is no option " + word + "\n" + kUsage);
    else
      arguments.paths.push_back(word);
  }
  const size_t count = arguments.paths.size();
  if (arguments.benchmark ? count < 1 || count > 2 : count != 3 && !arguments.help)
    throw std::runtime_error(
        std::string(arguments.benchmark ? "one or two paths are needed\n" : "three paths are needed\n") + kUsage);
  return arguments;
}

// The library's tracker, with exceptions in place of its error texts.
class Tracker {
 public:
  Tracker(const std::string& model, const MobileInstOptions& options) : tracker_(nullptr, mobileinst_close) {
    std::vector<char> error(2000);
    tracker_.reset(mobileinst_open(model.c_str(), &options, error.data(), error.size()));
    if (!tracker_) throw std::runtime_error(error.data());
  }

  const MobileInstResult& step(const Image& image) {
    MobileInstFrame frame{};
    frame.pixels = image.rgb.data();
    frame.width = image.width;
    frame.height = image.height;
    frame.format = MOBILEINST_RGB;
    const MobileInstResult* result = mobileinst_step(tracker_.get(), &frame);
    if (!result) throw std::runtime_error(mobileinst_error(tracker_.get()));
    return *result;
  }

  const MobileInst* get() const { return tracker_.get(); }

 private:
  std::unique_ptr<MobileInst, void (*)(MobileInst*)> tracker_;
};

// Milliseconds per stage of key frames, or of the others.
struct Stages {
  std::vector<std::vector<double>> rows;

  void add(const MobileInstResult& x) {
    rows.push_back({x.prepare_ms, x.network_ms, x.association_ms, x.masks_ms,
                    x.prepare_ms + x.network_ms + x.association_ms + x.masks_ms});
  }

  double median(size_t stage) const {
    std::vector<double> values;
    for (const std::vector<double>& row : rows) values.push_back(row[stage]);
    std::nth_element(values.begin(), values.begin() + values.size() / 2, values.end());
    return values[values.size() / 2];
  }
};

void print(const Stages& keyframes, const Stages& others) {
  std::printf("median ms      frames   prepare   network  association     masks       all\n");
  for (const Stages* stages : {&keyframes, &others}) {
    if (stages->rows.empty()) continue;
    std::printf("%-12s %8zu", stages == &keyframes ? "key frames" : "others", stages->rows.size());
    for (const size_t stage : {0, 1, 2, 3, 4})
      std::printf(stage == 2 ? "%13.2f" : "%10.2f", stages->median(stage));
    std::printf("\n");
  }
}

void track(const Arguments& arguments) {
  PpmFrames frames(arguments.paths[1]);
  Tracker tracker(arguments.paths[0], arguments.options);
  const fs::path output = arguments.paths[2];
  fs::create_directories(output);
  std::ofstream results(output / "results.jsonl");
  Stages keyframes, others;
  Image frame;
  for (int number = 0; frames.next(frame); ++number) {
    const MobileInstResult& result = tracker.step(frame);
    (result.is_keyframe ? keyframes : others).add(result);
    results << describe(number, result) << std::endl;
    if (!results) throw std::runtime_error("cannot write " + (output / "results.jsonl").string());
    if (!arguments.images) continue;
    draw(frame, result);
    std::ostringstream name;
    name << std::setw(6) << std::setfill('0') << number << ".ppm";
    write_ppm((output / name.str()).string(), frame);
  }
  print(keyframes, others);
}

std::vector<Image> benchmark_frames(const Arguments& arguments) {
  std::vector<Image> frames;
  Image frame;
  if (arguments.paths.size() == 2) {
    PpmFrames source(arguments.paths[1]);
    while (frames.size() < 64 && source.next(frame)) frames.push_back(frame);
    return frames;
  }
  frame = {1280, 720, std::vector<uint8_t>(1280 * 720 * 3)};
  for (size_t i = 0; i < frame.rgb.size(); ++i) frame.rgb[i] = static_cast<uint8_t>(i / 3 % 1280 / 5 + i % 3);
  return {frame};
}

void benchmark(const Arguments& arguments) {
  const std::vector<Image> frames = benchmark_frames(arguments);
  MobileInstOptions options = arguments.options;
  const int period = options.clip_len == 1 ? 1 : 2;
  options.clip_len = period;
  Tracker tracker(arguments.paths[0], options);
  std::printf("%s: %dx%d, %d thread(s), %s\n", arguments.paths[0].c_str(), mobileinst_input_width(tracker.get()),
              mobileinst_input_height(tracker.get()), std::max(1, options.threads),
              options.fp16 ? "half precision where the processor can" : "fp32");
  constexpr int kWarmUp = 4;
  Stages keyframes, others;
  double objects = 0;
  for (int i = 0; i < kWarmUp + period * arguments.benchmark; ++i) {
    const MobileInstResult& result = tracker.step(frames[i % frames.size()]);
    if (i < kWarmUp) continue;
    (result.is_keyframe ? keyframes : others).add(result);
    objects += result.count;
  }
  print(keyframes, others);
  std::printf("%.1f objects per frame\n", objects / (period * arguments.benchmark));
}

}  // namespace

int main(int argc, char** argv) {
  try {
    const Arguments arguments = parse({argv + 1, argv + argc});
    if (arguments.help)
      std::cout << kUsage;
    else
      (arguments.benchmark ? benchmark : track)(arguments);
  } catch (const std::exception& error) {
    std::cerr << "error: " << error.what() << std::endl;
    return 1;
  }
  return 0;
}
