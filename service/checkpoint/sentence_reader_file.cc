#include "service/checkpoint/sentence_reader_file.h"

#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "service/checkpoint/safetensors.h"

namespace blazon::service {
namespace {

constexpr char kReaderFormat[] = "blazon sentence reader 1";

}  // namespace

absl::StatusOr<std::unique_ptr<language::SentenceReader>> ReadSentenceReader(const std::filesystem::path& file,
                                                                             const language::BertEmbedder& embedder) {
  std::map<std::string, std::string> metadata;
  absl::StatusOr<TensorMap> tensors = ReadSafetensors(file, &metadata);
  if (!tensors.ok()) return tensors.status();
  if (metadata["format"] != kReaderFormat) {
    return absl::InvalidArgumentError(absl::StrCat(file.string(), " is no reader: its format is \"", metadata["format"],
                                                   "\", not \"", kReaderFormat, "\""));
  }
  if (metadata["embedder"] != embedder.fingerprint()) {
    return absl::FailedPreconditionError(absl::StrCat(file.string(), " was trained over the embedder ",
                                                      metadata["embedder"], ", but ", embedder.fingerprint(),
                                                      " is loaded. Train it anew with 'blazon train reader'."));
  }
  absl::StatusOr<std::unique_ptr<language::SentenceReader>> reader =
      language::SentenceReader::Create(embedder.config(), *tensors);
  if (!reader.ok())
    return absl::Status(reader.status().code(),
                        absl::StrCat(file.string(), ": ", std::string(reader.status().message())));
  return reader;
}

absl::Status WriteSentenceReader(const std::filesystem::path& file, const language::SentenceReader& reader,
                                 const language::BertEmbedder& embedder,
                                 const std::map<std::string, std::string>& notes) {
  std::map<std::string, std::string> metadata = notes;
  metadata["format"] = kReaderFormat;
  metadata["embedder"] = embedder.fingerprint();
  TensorMap tensors;
  for (const auto& [name, tensor] : reader.tensors()) tensors[name] = tensor.detach().to(at::kHalf);
  return WriteSafetensors(file, tensors, metadata);
}

}  // namespace blazon::service
