// What the library found, for files and for the eye.
#pragma once

#include <string>

#include "image.h"
#include "mobileinst.h"

// The mask in COCO's compressed RLE, as pycocotools reads it.
std::string encode_mask(const MobileInstInstance& instance, int frame_width, int frame_height);

// A line of results.jsonl.
std::string describe(int number, const MobileInstResult& result);

// Tints masks in the colours of their identities, frames their boxes, and writes identity, class and score
// beside them, where ncnn was built with its drawing.
void draw(Image& frame, const MobileInstResult& result);
