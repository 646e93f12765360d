// A text embedder from a Hugging Face folder: config.json, model.safetensors, vocab.txt, and sentence-transformers' own
// modules.json, sentence_bert_config.json and 1_Pooling/config.json; and a reranker from a folder of transformers.
#pragma once

#include <c10/core/Device.h>

#include <filesystem>
#include <memory>

#include "absl/status/statusor.h"
#include "language/passage_scorer.h"
#include "language/text_embedder.h"

namespace blazon::service {

// kNotFound: a file is missing. kInvalidArgument: the folder holds another kind of model, or another procedure than
// mean pooling followed by L2 normalisation; the message names the file and what was found. device: where it computes.
absl::StatusOr<std::unique_ptr<language::TextEmbedder>> LoadTextEmbedder(
    const std::filesystem::path& folder, at::Device device = at::kCPU,
    language::EmbedderPrecision precision = language::EmbedderPrecision::kInt8);

// A cross-encoder from a folder: config.json, model.safetensors and a tokenizer. kNotFound: a file is missing.
// kInvalidArgument: it is no BertForSequenceClassification of one label.
absl::StatusOr<std::unique_ptr<language::PassageScorer>> LoadReranker(const std::filesystem::path& folder);

}  // namespace blazon::service
