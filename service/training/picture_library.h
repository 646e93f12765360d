// Cut-out pictures (PNG with alpha) that scenes are composed of, listed in a table.
//
// The table has one picture a line, fields separated by tabs: library, path within it, name ("pair of scissors"), kind
// ("tool"; "-" for none). Lines that begin with # are comments.
// Thread safety: const after Load.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <opencv2/core.hpp>
#include <set>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace blazon::service {

struct Cutout {
  std::string library;
  std::string path;
  std::string name;
  std::string kind;  // empty: none
  cv::Mat pixels;    // CV_8UC4, blue green red alpha, cropped to what is visible, at most 320 pixels on its longer side
};

class PictureLibrary {
 public:
  // Reads the pictures of `table` whose library has a folder in `folders`; those in `excluded` ("library/path") are
  // left out.
  // kNotFound: a table or picture is missing; the message names it and the package that brings it. kInvalidArgument: a
  // malformed line.
  static absl::StatusOr<PictureLibrary> Load(const std::filesystem::path& table,
                                             const std::map<std::string, std::filesystem::path>& folders,
                                             const std::set<std::string>& excluded);

  const std::vector<Cutout>& cutouts() const { return cutouts_; }
  // name -> kind, over all rows of the table whatever their library
  const std::map<std::string, std::string>& names() const { return names_; }

 private:
  std::vector<Cutout> cutouts_;
  std::map<std::string, std::string> names_;
};

// "library/path" of each line of a table whose first field is a path in `library` (tests/reference/heldout_stamps.tsv).
absl::StatusOr<std::set<std::string>> ReadExclusions(const std::filesystem::path& table, const std::string& library);

}  // namespace blazon::service
