#include "retrieval/picture_text.h"

#include <optional>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "retrieval/child_process.h"

namespace blazon::retrieval {
namespace {

constexpr double kSure = 60;  // of 100

const std::optional<std::string>& Tesseract() {
  static const std::optional<std::string> program = FindProgram("tesseract");
  return program;
}

}  // namespace

bool CanReadPictures() { return Tesseract().has_value(); }

absl::StatusOr<std::string> ReadPicture(std::string_view bytes, const LoaderLimits& limits) {
  if (!CanReadPictures()) {
    return absl::FailedPreconditionError(
        "lettering in pictures is read by tesseract, which is not installed; install the Debian package tesseract-ocr");
  }
  absl::StatusOr<ChildOutput> result = RunChild({*Tesseract(), "stdin", "stdout", "tsv"}, bytes,
                                                {.memory_bytes = limits.child_memory_bytes,
                                                 .processor_seconds = limits.child_seconds,
                                                 .wall_seconds = 2 * limits.child_seconds,
                                                 .output_bytes = limits.max_text_bytes});
  if (!result.ok()) return result.status();
  if (result->exit_status != 0) return absl::InvalidArgumentError("tesseract cannot read the picture");

  // level page block paragraph line word left top width height confidence text
  std::string text;
  std::vector<absl::string_view> last;  // block, paragraph, line of the word before
  for (const absl::string_view row : absl::StrSplit(result->output, '\n')) {
    const std::vector<absl::string_view> fields = absl::StrSplit(row, '\t');
    double confidence = 0;
    if (fields.size() != 12 || fields[0] != "5" || !absl::SimpleAtod(fields[10], &confidence) || confidence < kSure ||
        fields[11].find_first_not_of(' ') == absl::string_view::npos) {
      continue;
    }
    const std::vector<absl::string_view> place(fields.begin() + 2, fields.begin() + 5);
    if (!last.empty()) {
      text += place == last ? " " : place[0] == last[0] && place[1] == last[1] ? "\n" : "\n\n";
    }
    text.append(fields[11].data(), fields[11].size());
    last = place;
  }
  return text;
}

}  // namespace blazon::retrieval
