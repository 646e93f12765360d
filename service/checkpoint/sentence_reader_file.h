// A sentence reader's file: safetensors in fp16, with the embedder it belongs to and how it was made in the metadata.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "language/models/bert_embedder.h"
#include "language/models/sentence_reader.h"

namespace blazon::service {

// kNotFound, kDataLoss: as ReadSafetensors. kInvalidArgument: the file is no reader's, or a tensor is wrong; the
// message names it. kFailedPrecondition: it was trained over another embedder; the message has both fingerprints.
absl::StatusOr<std::unique_ptr<language::SentenceReader>> ReadSentenceReader(const std::filesystem::path& file,
                                                                             const language::BertEmbedder& embedder);

// notes: what the metadata tells besides: the command, the seed, digests of the data.
absl::Status WriteSentenceReader(const std::filesystem::path& file, const language::SentenceReader& reader,
                                 const language::BertEmbedder& embedder,
                                 const std::map<std::string, std::string>& notes);

}  // namespace blazon::service
