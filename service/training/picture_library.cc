#include "service/training/picture_library.h"

#include <algorithm>
#include <fstream>
#include <opencv2/imgcodecs.hpp>
#include <opencv2/imgproc.hpp>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace blazon::service {
namespace {

constexpr int kLongestSide = 320;

// Blue, green, red, alpha; an empty Mat when the file is no picture or nothing in it is visible.
cv::Mat ReadCutout(const std::filesystem::path& path) {
  cv::Mat pixels = cv::imread(path.string(), cv::IMREAD_UNCHANGED);
  if (pixels.empty()) return {};
  if (pixels.depth() == CV_16U) pixels.convertTo(pixels, CV_8U, 1.0 / 257);
  switch (pixels.channels()) {
    case 1:
      cv::cvtColor(pixels, pixels, cv::COLOR_GRAY2BGRA);
      break;
    case 2: {
      cv::Mat planes[2];
      cv::split(pixels, planes);
      cv::merge(std::vector<cv::Mat>{planes[0], planes[0], planes[0], planes[1]}, pixels);
      break;
    }
    case 3:
      cv::cvtColor(pixels, pixels, cv::COLOR_BGR2BGRA);
      break;
    default:
      break;
  }
  cv::Mat alpha;
  cv::extractChannel(pixels, alpha, 3);
  const cv::Rect visible = cv::boundingRect(alpha > 8);
  if (visible.empty()) return {};
  pixels = pixels(visible).clone();
  const double scale = static_cast<double>(kLongestSide) / std::max(pixels.cols, pixels.rows);
  if (scale < 1) {
    cv::resize(pixels, pixels, {std::max(1, cvRound(pixels.cols * scale)), std::max(1, cvRound(pixels.rows * scale))},
               0, 0, cv::INTER_AREA);
  }
  return pixels;
}

}  // namespace

absl::StatusOr<PictureLibrary> PictureLibrary::Load(const std::filesystem::path& table,
                                                    const std::map<std::string, std::filesystem::path>& folders,
                                                    const std::set<std::string>& excluded) {
  std::ifstream file(table);
  if (!file) return absl::NotFoundError(absl::StrCat("the table of pictures ", table.string(), " cannot be read"));
  PictureLibrary library;
  std::string line;
  for (int64_t number = 1; std::getline(file, line); ++number) {
    if (line.empty() || line[0] == '#') continue;
    const std::vector<std::string> fields = absl::StrSplit(line, '\t');
    if (fields.size() != 4) {
      return absl::InvalidArgumentError(absl::StrCat(
          table.string(), ":", number, ": a line needs 4 fields (library, path, name, kind), separated by tabs"));
    }
    const std::string kind = fields[3] == "-" ? "" : fields[3];
    library.names_.try_emplace(fields[2], kind);
    const auto folder = folders.find(fields[0]);
    if (folder == folders.end() || excluded.contains(absl::StrCat(fields[0], "/", fields[1]))) continue;
    try {
      Cutout cutout{fields[0], fields[1], fields[2], kind, ReadCutout(folder->second / fields[1])};
      if (cutout.pixels.empty()) {
        return absl::NotFoundError(absl::StrCat("the picture ", (folder->second / fields[1]).string(),
                                                " of the library \"", fields[0], "\" is missing or cannot be read; ",
                                                table.string(), " says what brings it"));
      }
      library.cutouts_.push_back(std::move(cutout));
    } catch (const cv::Exception&) {
      return absl::InvalidArgumentError(
          absl::StrCat("the picture ", (folder->second / fields[1]).string(), " is broken"));
    }
  }
  return library;
}

absl::StatusOr<std::set<std::string>> ReadExclusions(const std::filesystem::path& table, const std::string& library) {
  std::ifstream file(table);
  if (!file) return absl::NotFoundError(absl::StrCat("the table ", table.string(), " cannot be read"));
  std::set<std::string> excluded;
  for (std::string line; std::getline(file, line);) {
    if (!line.empty() && line[0] != '#') excluded.insert(absl::StrCat(library, "/", line.substr(0, line.find('\t'))));
  }
  return excluded;
}

}  // namespace blazon::service
