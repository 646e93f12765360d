#include "service/checkpoint/text_file.h"

#include "service/checkpoint/durable_file.h"

namespace blazon::service {

absl::Status WriteTextFile(const std::filesystem::path& path, std::string_view text) {
  return WriteDurably(path, [text](FileAppender& file) { return file.Append(text.data(), text.size()); });
}

}  // namespace blazon::service
