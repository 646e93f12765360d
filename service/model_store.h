// The models of one process: found in a models folder, loaded when first needed, shared by all requests.
//
// Roles: the language model (with its tokenizer, chat template and scheduler), the text embedder (MiniLM), the
// captioner (image encoder, connector and adapter around the language model; or the language model itself, where it is
// a vision-language one).
//
// Thread safety: every method may be called from any thread. Two threads that ask for a model at once wait for one
// load.
// Lifetime: what a method returns lives as long as the store.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "service/adapter_store.h"

namespace blazon::language {
class TextEmbedder;
}

namespace blazon::retrieval {
struct Embedder;
}

namespace blazon::service {

struct LanguageRuntime;      // service/language_runtime.h: holds tensors
class Reader;                // service/reader.h
class VisionLanguageFamily;  // service/families/vision_language_family.h: holds tensors

struct ModelStoreOptions {
  // Where `make setup` put the default weights: smollm2-135m-instruct/, all-minilm-l6-v2/, efficientnet-lite0/.
  // Empty: the first of ./models and the folders beside and above the executable that exists.
  std::filesystem::path models_folder;
  // Where captioner/captioner.safetensors, reader/reader.safetensors and answerer/ lie. Empty: the first of ./assets
  // and the folders beside and above the executable.
  std::filesystem::path assets_folder;
  // The language model: a Hugging Face folder, a GGUF file or a folder with one. Empty: the one in
  // models_folder/smollm2-135m-instruct.
  // One that sees pictures is the captioner too. The trained captioner belongs to the default model; captions with
  // another model of text are refused.
  std::filesystem::path language_model;
  // What replies and `blazon models` call it. Empty: the folder's name, or the file's without its ending.
  std::string language_name;
  // An adapter for the language model, a folder in PEFT's layout: generation and scores that name no other go through
  // it. Empty: none.
  std::filesystem::path adapter;
  // Adapters that are loaded while the store is in use, and chosen per request.
  AdapterStoreOptions adapters;
  // A folder with the language model's tokenizer files, where its own folder has none. Empty: its own.
  std::filesystem::path tokenizer;
  // Of the language model. "auto": quantised weights stay quantised; "fp32": the parity reference; "bf16"; "fp16". The
  // embedder computes in 8 bits where the processor can and dtype is "auto", else in fp32.
  std::string dtype = "auto";
  // "cpu" or "cuda[:N]": where the language model, a vision-language model's tower and the embedder compute. The
  // default captioner's encoder and the reader are small and stay on the CPU.
  std::string device = "cpu";
  int threads = 0;         // compute threads; 0: one for each core
  int max_sequences = 16;  // in the running batch
  int max_queued = 256;    // beyond it requests are refused
};

enum class ModelRole { kLanguage, kEmbedder, kCaptioner };

// One line of `blazon models` and of ListModels.
struct ModelInfo {
  std::string name;  // "smollm2-135m-instruct"
  ModelRole role = ModelRole::kLanguage;
  std::string source;    // file or folder name, without the path of this machine
  bool present = false;  // its files were found
  bool loaded = false;
  std::string error;   // why the last load failed; empty otherwise
  std::string digest;  // "sha256:..." of the weights, or the embedder's fingerprint; empty until loaded
  std::string dtype;
  int64_t width = 0;            // hidden width, or dimension of the embeddings; 0 until loaded
  int64_t context_length = 0;   // tokens; 0 until loaded
  int64_t vocabulary_size = 0;  // 0 where there is none
  bool sees_pictures = false;   // a captioner, or a language model that takes pictures in its prompts
};

class ModelStore {
 public:
  // Loads nothing yet. kInvalidArgument: an option out of range; kUnimplemented, kUnavailable: a device that is not
  // there (service/checkpoint/compute_device.h); kNotFound: no models folder; the message names where it looked and the
  // command that fetches the models.
  static absl::StatusOr<std::unique_ptr<ModelStore>> Open(ModelStoreOptions options);
  ~ModelStore();
  ModelStore(const ModelStore&) = delete;
  ModelStore& operator=(const ModelStore&) = delete;

  // Each loads on the first call. kNotFound: the files are missing (the message names the folder and `make setup`);
  // kDataLoss or kInvalidArgument: they are broken. A failed load is tried again by the next call.
  absl::StatusOr<LanguageRuntime*> Language();
  absl::StatusOr<const language::TextEmbedder*> Embedder();
  absl::StatusOr<const VisionLanguageFamily*> Captioner();
  // What the default language model answers from documents with: assets/answerer. Null with another language model, and
  // with an adapter of the user's.
  absl::StatusOr<std::shared_ptr<const language::Adapter>> AnswerAdapter();
  // AdapterStore::Load for the language model, which it loads.
  absl::StatusOr<AdapterInfo> LoadAdapter(const std::string& source, const std::string& name, bool replace);
  // Those of the language model; the default one is in it once the language model is loaded.
  AdapterStore& adapters();
  absl::StatusOr<const Reader*> ReaderModel();  // chooses answering sentences; stands on the embedder, which it loads

  // Where the weights lie that training starts from. kNotFound as above; nothing is loaded.
  absl::StatusOr<std::filesystem::path> LanguageModelFile() const;
  absl::StatusOr<std::filesystem::path> ImageEncoderFolder() const;
  absl::StatusOr<std::filesystem::path> EmbedderFolder() const;

  // The embedder as a collection wants it (retrieval/collection.h). Loads the embedder.
  absl::StatusOr<retrieval::Embedder> CollectionEmbedder();

  // The model of a role, loaded or not; name and digest identify it in replies. Where the language model sees pictures,
  // the captioner is that model: the same name.
  ModelInfo Info(ModelRole role) const;
  // All models of the store, loaded or not, by name; one that is both language model and captioner once.
  std::vector<ModelInfo> List() const;
  // kNotFound: the message lists the names there are.
  absl::StatusOr<ModelInfo> Get(std::string_view name) const;

  // Milliseconds since the language model's scheduler was last seen alive; 0 when it is not loaded. Readiness follows
  // it.
  int64_t HeartbeatAgeMs() const;

  const ModelStoreOptions& options() const;

 private:
  class Impl;
  explicit ModelStore(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace blazon::service
