#include "retrieval/zip_archive.h"

#include <zip.h>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"

namespace blazon::retrieval {
namespace {

constexpr size_t kSmall = 10u << 20;  // below this the ratio does not matter

}  // namespace

absl::StatusOr<std::unique_ptr<ZipArchive>> ZipArchive::Open(std::string_view bytes, const LoaderLimits& limits) {
  zip_error_t error;
  zip_error_init(&error);
  const absl::Cleanup finish_error = [&error] { zip_error_fini(&error); };
  zip_source_t* source = zip_source_buffer_create(bytes.data(), bytes.size(), 0, &error);
  if (!source) return absl::ResourceExhaustedError("there is not enough memory to read it");
  zip_t* archive = zip_open_from_source(source, ZIP_RDONLY, &error);
  if (!archive) {
    zip_source_free(source);
    return absl::InvalidArgumentError(absl::StrCat("it is a damaged zip file (", zip_error_strerror(&error), ")"));
  }
  std::unique_ptr<ZipArchive> result(new ZipArchive(archive, limits));
  const zip_int64_t entries = zip_get_num_entries(archive, 0);
  if (entries > limits.max_zip_entries) {
    return absl::InvalidArgumentError(
        absl::StrCat("it is a zip file of ", entries, " entries; at most ", limits.max_zip_entries, " are allowed"));
  }
  return result;
}

ZipArchive::~ZipArchive() { zip_discard(archive_); }

bool ZipArchive::Has(const std::string& name) const { return zip_name_locate(archive_, name.c_str(), 0) >= 0; }

absl::StatusOr<std::string> ZipArchive::Read(const std::string& name) {
  const zip_int64_t index = zip_name_locate(archive_, name.c_str(), 0);
  if (index < 0) return absl::NotFoundError(absl::StrCat("it has no entry ", name));
  zip_stat_t about;
  zip_stat_init(&about);
  if (zip_stat_index(archive_, static_cast<zip_uint64_t>(index), 0, &about) != 0)
    return absl::InvalidArgumentError(absl::StrCat("its entry ", name, " is damaged"));
  if ((about.valid & ZIP_STAT_ENCRYPTION_METHOD) && about.encryption_method != ZIP_EM_NONE)
    return absl::InvalidArgumentError(absl::StrCat("its entry ", name, " is encrypted; save it without a password"));
  zip_file_t* file = zip_fopen_index(archive_, static_cast<zip_uint64_t>(index), 0);
  if (!file) {
    return absl::InvalidArgumentError(absl::StrCat("its entry ", name, " is damaged (", zip_strerror(archive_), ")"));
  }
  const absl::Cleanup close_file = [file] { zip_fclose(file); };
  // What is read counts, not what the header says.
  const zip_uint64_t packed = (about.valid & ZIP_STAT_COMP_SIZE) ? about.comp_size : 0;
  std::string content;
  std::string buffer(1 << 16, '\0');
  while (true) {
    const zip_int64_t count = zip_fread(file, buffer.data(), buffer.size());
    if (count < 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("its entry ", name, " is damaged (", zip_file_strerror(file), ")"));
    }
    if (count == 0) return content;
    content.append(buffer, 0, static_cast<size_t>(count));
    expanded_bytes_ += static_cast<size_t>(count);
    if (expanded_bytes_ > limits_.max_expanded_bytes) {
      return absl::InvalidArgumentError(
          absl::StrCat("its entries unpack to more than the ", limits_.max_expanded_bytes, " bytes that are allowed"));
    }
    if (content.size() > kSmall && content.size() / static_cast<size_t>(limits_.max_zip_ratio) > packed) {
      return absl::InvalidArgumentError(absl::StrCat("its entry ", name, " unpacks to more than ",
                                                     limits_.max_zip_ratio, " times its size, as a zip bomb does"));
    }
  }
}

}  // namespace blazon::retrieval
