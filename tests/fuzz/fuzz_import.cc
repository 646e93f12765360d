// Gives bytes to the readers of 'index import': what begins as a .npy file does goes to VectorFile, the rest is a line.
#include <sys/mman.h>
#include <unistd.h>

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "service/document_line.h"
#include "service/vector_file.h"

namespace blazon::service {
namespace {

void Promise(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "broken promise: %s\n", what);
  std::abort();
}

void FuzzVectors(std::string_view input) {
  const int file = memfd_create("vectors", MFD_CLOEXEC);
  if (file < 0 || write(file, input.data(), input.size()) != static_cast<ssize_t>(input.size())) std::abort();
  const auto vectors = VectorFile::Open("/proc/self/fd/" + std::to_string(file));
  if (vectors.ok()) {
    Promise((*vectors)->rows() * (*vectors)->dimension() * 4 <= static_cast<int64_t>(input.size()),
            "numbers are there");
    std::vector<float> numbers;
    while ((*vectors)->left() > 0) Promise((*vectors)->Append(1, numbers).ok(), "each row can be read");
    Promise(numbers.size() == static_cast<size_t>((*vectors)->rows() * (*vectors)->dimension()), "all rows come");
  }
  close(file);
}

void FuzzLine(std::string_view input) {
  absl::StatusOr<retrieval::Document> document = ParseLine(std::string(input));
  if (!document.ok()) return;
  Promise(!document->path.empty(), "a document has a path");
  Promise(document->Line(document->text.size()) >= 1, "lines count from 1");
  if (!document->given) return;
  retrieval::GivenChunks& given = *document->given;
  Promise(given.vectors.empty() || given.vectors.size() % given.chunks.size() == 0, "vectors have one dimension");
  for (retrieval::GivenChunk& chunk : given.chunks) {
    if (!chunk.prefix) chunk.prefix = "";
  }
  const auto line = ToLine(*document);
  if (!line.ok()) return;
  const auto again = ParseLine(*line);
  Promise(again.ok() && again->text == document->text && again->path == document->path &&
              again->given->chunks.size() == given.chunks.size(),
          "what was written is read");
  Promise(*ToLine(*again) == *line, "and is written the same again");
}

}  // namespace
}  // namespace blazon::service

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  input.starts_with("\x93NUMPY") ? blazon::service::FuzzVectors(input) : blazon::service::FuzzLine(input);
  return 0;
}
