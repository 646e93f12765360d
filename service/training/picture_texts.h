// Pictures and what is to be said of them: captions, and answers to questions.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace blazon::service {

// A text that is learned of a picture.
struct PictureText {
  size_t picture = 0;    // index into PictureTexts::pictures
  std::string question;  // empty: the text is a caption
  std::string text;
};

struct PictureTexts {
  std::vector<std::filesystem::path> pictures;  // each once
  std::vector<PictureText> texts;
  int64_t without_text = 0;  // pictures that were left out
};

inline constexpr int64_t kLongestPictureText = 1000;  // bytes, of a caption, a question or an answer

// source is one of
// - a folder: its pictures, and those of its subfolders, with a caption beside them (cat.jpg and cat.txt; the first
// line
//   counts);
// - NAME.csv with a header (RFC 4180): the picture in "picture", "image" or "file"; "caption" or "text", or "question"
// and
//   "answer";
// - NAME.jsonl, an object a line with the same members; instead of "answer" several "answers", of which the most
// frequent
//   is learned;
// - NAME.json of COCO captions: "images" with "id" and "file_name", "annotations" with "image_id" and "caption";
// - NAME.json of VQA questions ("questions" with "question_id", "image_id" and "question") and, behind a comma, its
//   annotations ("annotations" with "question_id" and "multiple_choice_answer" or "answers"); a picture is the one in
//   the folder whose name ends with the image_id.
// Pictures are looked for beside the file, by the path that it gives; VQA's and COCO's below it too, by name.
// kNotFound: a file, or a picture that it names, is not there; nothing is to be learned. kInvalidArgument: a file is no
// such thing, or a text is longer than kLongestPictureText; the message names file and line.
absl::StatusOr<PictureTexts> ReadPictureTexts(const std::string& source);

// Whether a file is a picture that can be read, by its name.
bool IsPictureName(const std::filesystem::path& path);

// Every picture below `folder`, sorted, so that a seed means the same everywhere. None where it cannot be read.
std::vector<std::filesystem::path> PicturesBelow(const std::filesystem::path& folder);

}  // namespace blazon::service
