// Pictures: what a describer says of them, and the lettering in them.
#include "absl/strings/str_cat.h"
#include "retrieval/format_loaders.h"
#include "retrieval/picture_text.h"
#include "retrieval/text_builder.h"

namespace blazon::retrieval {

absl::Status LoadImage(std::string_view bytes, const LoaderOptions& options, Document& document) {
  const bool can_read = options.read_pictures && CanReadPictures();
  if (!options.describe_picture && !can_read) {
    return absl::FailedPreconditionError(
        "it is a picture; there is neither a captioner for it nor tesseract (Debian package tesseract-ocr)");
  }
  TextBuilder builder;
  if (options.describe_picture) {
    absl::StatusOr<std::string> description = options.describe_picture(bytes);
    if (!description.ok()) return description.status();
    builder.Add(*description);
  }
  if (can_read) {
    absl::StatusOr<std::string> lettering = ReadPicture(bytes, options.limits);
    if (lettering.ok() && !lettering->empty()) {
      builder.Break(2);
      builder.Add(*lettering);
    } else if (!lettering.ok()) {
      if (!options.describe_picture) return lettering.status();
      document.warnings.push_back(absl::StrCat("its lettering was not read: ", lettering.status().message()));
    }
  }
  builder.Break(1);
  if (builder.text().empty()) return absl::InvalidArgumentError("it is a picture without lettering that can be read");
  builder.MoveTo(document);
  return absl::OkStatus();
}

}  // namespace blazon::retrieval
