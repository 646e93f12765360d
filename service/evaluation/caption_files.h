// Captions of a model and of people, read from files and brought together by picture.
//
// Thread safety: functions may be called from any thread.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "service/evaluation/caption_metrics.h"

namespace blazon::service {

struct CaptionFileOptions {
  bool partial = false;       // pictures with references but no candidate are left out, and counted
  bool pretokenized = false;  // words are what spaces separate, as they stand
};

struct CaptionSet {
  std::vector<CaptionPair> pairs;  // in the candidates' order
  int64_t left_out = 0;            // pictures with references but no candidate
};

// Joins the two files. Either may be
// - JSON Lines, an object a line: the picture in "file", "id" or "image_id"; its caption in "text" or "caption", or
//   several in "captions". What `blazon caption --json` prints is such a file. A picture may stand on several lines of
//   the references.
// - the JSON of COCO captions ("annotations" with "image_id" and "caption", "images" with "id" and "file_name"), or of
//   COCO results (a list of "image_id" and "caption").
// Pictures are the same when their names are; a file is also found by the last part of its path.
//
// kNotFound: a file is missing. kInvalidArgument: a file is no such thing, a candidate stands twice or has no
// references, a name fits several pictures, or a picture has no candidate and `partial` is not set; the message names
// the file and the line or the picture.
absl::StatusOr<CaptionSet> ReadCaptionSet(const std::filesystem::path& candidates,
                                          const std::filesystem::path& references,
                                          const CaptionFileOptions& options = {});

}  // namespace blazon::service
