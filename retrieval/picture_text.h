// The lettering in a picture, by tesseract as a child process.
//
// Thread safety: all functions may run together.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "retrieval/document_loader.h"

namespace blazon::retrieval {

// Whether tesseract is installed; looked up once.
bool CanReadPictures();

// The words of a PNG, JPEG, TIFF, BMP, WebP or PNM file that tesseract is sure of (60 of 100 or more), lines and
// paragraphs as it finds them; empty when it finds none. kFailedPrecondition: not installed. Errors as RunChild.
absl::StatusOr<std::string> ReadPicture(std::string_view bytes, const LoaderLimits& limits);

}  // namespace blazon::retrieval
