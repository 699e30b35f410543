#include "mobileinst.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <exception>
#include <stdexcept>

#include "frame.h"
#include "live.h"

struct MobileInst {
  MobileInst(const char* folder, const MobileInstOptions& options)
      : model(folder, std::max(1, options.threads), options.fp16 != 0),
        tracker(model, options.clip_len > 0 ? options.clip_len : model.clip_len) {}

  Model model;
  LiveTracker tracker;
  Image frame;
  std::vector<Instance> instances;
  std::vector<MobileInstInstance> described;
  MobileInstResult result{};
  std::string error;
};

namespace {

void check(bool holds, const char* otherwise) {
  if (!holds) throw std::runtime_error(otherwise);
}

const MobileInstResult* step(MobileInst& self, const MobileInstFrame& frame) {
  const auto start = std::chrono::steady_clock::now();
  self.frame = upright_rgb(frame);
  const std::chrono::duration<double, std::milli> converted = std::chrono::steady_clock::now() - start;
  self.instances = self.tracker.step(self.frame);
  self.described.clear();
  for (const Instance& x : self.instances)
    self.described.push_back({x.id, x.label, self.model.class_names[x.label].c_str(), x.score, x.mask.x0,
                              x.mask.y0, x.mask.x1, x.mask.y1, x.mask.pixels.data()});
  const Timings& timings = self.tracker.timings();
  self.result = {static_cast<int>(self.described.size()),
                 self.described.data(),
                 self.tracker.is_keyframe(),
                 self.frame.width,
                 self.frame.height,
                 converted.count() + timings.prepare,
                 timings.network,
                 timings.association,
                 timings.masks};
  return &self.result;
}

}  // namespace

MobileInst* mobileinst_open(const char* folder, const MobileInstOptions* options, char* error,
                            size_t error_size) {
  std::string message;
  try {
    check(folder != nullptr, "no folder is given");
    const MobileInstOptions given = options ? *options : MobileInstOptions{};
    check(given.clip_len >= 0 && given.threads >= 0, "an option is negative");
    return new MobileInst(folder, given);
  } catch (const std::exception& failure) {
    message = failure.what();
  } catch (...) {
    message = "unknown error";
  }
  if (error && error_size > 0) {
    const size_t length = std::min(message.size(), error_size - 1);
    std::memcpy(error, message.data(), length);
    error[length] = '\0';
  }
  return nullptr;
}

const MobileInstResult* mobileinst_step(MobileInst* tracker, const MobileInstFrame* frame) {
  if (!tracker) return nullptr;
  try {
    tracker->error.clear();
    check(frame != nullptr, "no frame is given");
    return step(*tracker, *frame);
  } catch (const std::exception& failure) {
    tracker->error = failure.what();
  } catch (...) {
    tracker->error = "unknown error";
  }
  return nullptr;
}

const char* mobileinst_error(const MobileInst* tracker) {
  return tracker ? tracker->error.c_str() : "there is no tracker";
}

void mobileinst_reset(MobileInst* tracker) {
  if (!tracker) return;
  tracker->error.clear();
  tracker->tracker.reset();
}

void mobileinst_close(MobileInst* tracker) { delete tracker; }

int mobileinst_num_classes(const MobileInst* tracker) {
  return tracker ? static_cast<int>(tracker->model.class_names.size()) : 0;
}

const char* mobileinst_class_name(const MobileInst* tracker, int class_index) {
  if (class_index < 0 || class_index >= mobileinst_num_classes(tracker)) return nullptr;
  return tracker->model.class_names[class_index].c_str();
}

int mobileinst_input_width(const MobileInst* tracker) { return tracker ? tracker->model.width : 0; }

int mobileinst_input_height(const MobileInst* tracker) { return tracker ? tracker->model.height : 0; }
