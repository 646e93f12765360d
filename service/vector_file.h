// Vectors in a .npy file, as numpy.save writes a float32 array: a header, then rows of fp32, little-endian, C order
// (NumPy Enhancement Proposal 1). One row at a time, so that a file may be larger than memory.
#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace blazon::service {

// The file's first bytes, for rows * dimension numbers.
std::string VectorFileHeader(int64_t rows, int64_t dimension);

// Thread safety: one thread at a time.
class VectorFile {
 public:
  // kNotFound; kInvalidArgument: it is no .npy file of a float32 array with two axes in C order, or its length is not
  // what its header says; the message has the remedy.
  static absl::StatusOr<std::unique_ptr<VectorFile>> Open(const std::filesystem::path& path);

  int64_t rows() const { return rows_; }
  int64_t dimension() const { return dimension_; }
  int64_t left() const { return rows_ - read_; }  // rows that Append has not taken
  // Puts the next `rows` rows behind `vectors`. rows: at most left(). kDataLoss: the file cannot be read.
  absl::Status Append(int64_t rows, std::vector<float>& vectors);

 private:
  VectorFile() = default;
  std::string path_;
  std::ifstream file_;
  int64_t rows_ = 0, dimension_ = 0, read_ = 0;
};

}  // namespace blazon::service
