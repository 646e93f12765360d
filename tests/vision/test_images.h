// Picture files of tests/goldens and what Pillow sees in them.
#pragma once

#include <filesystem>
#include <string>

#include "vision/image.h"

namespace blazon::vision {

// tests/goldens
std::filesystem::path Goldens();

std::string ReadFile(const std::filesystem::path& path);

// A binary PPM with 255 levels.
Image ReadPpm(const std::filesystem::path& path);

// The largest difference between two samples, or 256 when the sizes differ.
int LargestDifference(const Image& a, const Image& b);

}  // namespace blazon::vision
