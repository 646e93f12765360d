#include "service/vector_file.h"

#include <bit>
#include <cstring>
#include <limits>
#include <system_error>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace blazon::service {
namespace {

static_assert(std::endian::native == std::endian::little);

constexpr absl::string_view kMagic = "\x93NUMPY";
constexpr size_t kHeaderStep = 64;  // the array begins at a multiple of it
constexpr size_t kMaxHeaderBytes = 64u << 10;

// The text after 'key': in the header's dictionary, up to the next comma outside of parentheses.
absl::string_view ValueOf(absl::string_view header, absl::string_view key) {
  const size_t at = header.find(absl::StrCat("'", key, "':"));
  if (at == absl::string_view::npos) return {};
  absl::string_view rest = header.substr(at + key.size() + 3);
  const size_t end =
      absl::StartsWith(absl::StripLeadingAsciiWhitespace(rest), "(") ? rest.find(')') + 1 : rest.find_first_of(",}");
  return absl::StripAsciiWhitespace(rest.substr(0, end));
}

}  // namespace

std::string VectorFileHeader(int64_t rows, int64_t dimension) {
  std::string header =
      absl::StrCat("{'descr': '<f4', 'fortran_order': False, 'shape': (", rows, ", ", dimension, "), }");
  const size_t before = kMagic.size() + 4;  // version and length
  while ((before + header.size() + 1) % kHeaderStep != 0) header += ' ';
  header += '\n';
  const std::string start = {'\x01', '\x00', static_cast<char>(header.size() & 0xff),
                             static_cast<char>(header.size() >> 8)};
  return absl::StrCat(kMagic, start, header);
}

absl::StatusOr<std::unique_ptr<VectorFile>> VectorFile::Open(const std::filesystem::path& path) {
  std::error_code error;
  if (!std::filesystem::is_regular_file(path, error))
    return absl::NotFoundError(absl::StrCat("there is no file ", path.string()));
  const auto wrong = [&path](absl::string_view what) {
    return absl::InvalidArgumentError(
        absl::StrCat(path.string(), " ", what,
                     "; vectors are a float32 array of two axes, as numpy.save(file, array.astype('float32')) has it"));
  };
  std::unique_ptr<VectorFile> vectors(new VectorFile);
  vectors->path_ = path.string();
  vectors->file_.open(path, std::ios::binary);
  if (!vectors->file_) return absl::PermissionDeniedError(absl::StrCat("cannot open ", path.string()));
  char start[12] = {};
  vectors->file_.read(start, 10);
  if (!vectors->file_ || absl::string_view(start, kMagic.size()) != kMagic) return wrong("is not a .npy file");
  size_t header_bytes = static_cast<unsigned char>(start[8]) | static_cast<size_t>(static_cast<unsigned char>(start[9]))
                                                                   << 8;
  if (start[6] == 2 || start[6] == 3) {  // four bytes of length
    vectors->file_.read(start + 10, 2);
    header_bytes |= static_cast<size_t>(static_cast<unsigned char>(start[10])) << 16 |
                    static_cast<size_t>(static_cast<unsigned char>(start[11])) << 24;
  } else if (start[6] != 1) {
    return wrong("has a version of the format that is not known here");
  }
  if (header_bytes > kMaxHeaderBytes) return wrong("has a header that is too long");
  std::string header(header_bytes, '\0');
  vectors->file_.read(header.data(), static_cast<std::streamsize>(header_bytes));
  if (!vectors->file_) return wrong("ends within its header");
  const absl::string_view type = ValueOf(header, "descr");
  if (type != "'<f4'") return wrong(absl::StrCat("holds numbers of type ", type));
  if (ValueOf(header, "fortran_order") != "False") return wrong("is in Fortran order");
  absl::string_view shape = ValueOf(header, "shape");
  const size_t comma = shape.find(',');
  int64_t rows = -1, dimension = -1;
  if (shape.size() < 2 || comma == absl::string_view::npos || !absl::SimpleAtoi(shape.substr(1, comma - 1), &rows) ||
      !absl::SimpleAtoi(shape.substr(comma + 1, shape.size() - comma - 2), &dimension) || rows < 0 || dimension < 1 ||
      rows > std::numeric_limits<int64_t>::max() / 4 / dimension)
    return wrong(absl::StrCat("has the shape ", shape));
  const auto size = static_cast<int64_t>(std::filesystem::file_size(path, error));
  const auto begin = static_cast<int64_t>(vectors->file_.tellg());
  if (error || size - begin != rows * dimension * 4) {
    return wrong(absl::StrCat("has ", size - begin, " bytes of numbers, and not ", rows * dimension * 4,
                              " as its shape ", shape, " needs"));
  }
  vectors->rows_ = rows;
  vectors->dimension_ = dimension;
  return vectors;
}

absl::Status VectorFile::Append(int64_t rows, std::vector<float>& vectors) {
  const size_t before = vectors.size(), count = static_cast<size_t>(rows * dimension_);
  vectors.resize(before + count);
  file_.read(reinterpret_cast<char*>(vectors.data() + before), static_cast<std::streamsize>(count * sizeof(float)));
  if (!file_) return absl::DataLossError(absl::StrCat("cannot read row ", read_, " and what follows of ", path_));
  read_ += rows;
  return absl::OkStatus();
}

}  // namespace blazon::service
