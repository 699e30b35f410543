// Frames of cameras and apps as images.
#pragma once

#include "image.h"
#include "mobileinst.h"

// The frame in RGB, turned upright. Throws std::runtime_error where it is no frame.
Image upright_rgb(const MobileInstFrame& frame);
