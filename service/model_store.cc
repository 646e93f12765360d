#include "service/model_store.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <mutex>
#include <optional>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "language/text_embedder.h"
#include "retrieval/embedder.h"
#include "service/checkpoint/adapter_folder.h"
#include "service/checkpoint/compute_device.h"
#include "service/checkpoint/embedder_loader.h"
#include "service/checkpoint/image_encoder_loader.h"
#include "service/checkpoint/weights_digest.h"
#include "service/collection_embedder.h"
#include "service/families/captioner_family.h"
#include "service/families/checkpoint_loader.h"
#include "service/families/vision_language_models.h"
#include "service/language_runtime.h"
#include "service/reader.h"

namespace blazon::service {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kLanguageFolder = "smollm2-135m-instruct";
constexpr std::string_view kEmbedderFolder = "all-minilm-l6-v2";
constexpr std::string_view kEncoderFolder = "efficientnet-lite0";
constexpr std::string_view kCaptionerFile = "captioner/captioner.safetensors";
constexpr std::string_view kReaderFile = "reader/reader.safetensors";
constexpr std::string_view kAnswerAdapterFile = "answerer/adapter_model.safetensors";
constexpr std::string_view kCaptionerName = "captioner-lite0-smollm2";

// `name` in the working folder, beside the executable, or in one of the two folders above it; empty when there is none.
fs::path FindBeside(std::string_view name, std::vector<std::string>& looked_in) {
  std::error_code error;
  std::vector<fs::path> candidates = {fs::path(name)};
  if (fs::path folder = fs::read_symlink("/proc/self/exe", error).parent_path(); !error) {
    for (int level = 0; level < 3; ++level, folder = folder.parent_path()) candidates.push_back(folder / name);
  }
  for (const fs::path& candidate : candidates) {
    if (fs::is_directory(candidate, error)) return candidate;
    looked_in.push_back(candidate.string());
  }
  return {};
}

absl::Status Missing(absl::string_view what, const fs::path& where) {
  return absl::NotFoundError(
      absl::StrCat(what, " was not found: there is no ", where.string(),
                   ". Run 'make setup' to fetch the models, or say where they are with --models DIR."));
}

// A model that is loaded on the first call, by one thread while others wait. A failed load is tried again.
template <typename T>
class Lazy {
 public:
  template <typename Load>
  absl::StatusOr<T*> Get(Load&& load) {
    std::lock_guard lock(loading_);
    if (value_) return value_.get();
    absl::StatusOr<std::shared_ptr<T>> loaded = load();
    std::lock_guard publish(published_);
    if (!loaded.ok()) {
      error_ = std::string(loaded.status().message());
      return loaded.status();
    }
    error_.clear();
    value_ = *std::move(loaded);
    return value_.get();
  }
  // Null until loaded. Never waits for a load.
  T* Peek(std::string* error = nullptr) const {
    std::lock_guard lock(published_);
    if (error != nullptr) *error = error_;
    return value_.get();
  }

 private:
  std::mutex loading_;
  mutable std::mutex published_;
  std::shared_ptr<T> value_;
  std::string error_;
};

}  // namespace

class ModelStore::Impl {
 public:
  explicit Impl(ModelStoreOptions options) : options_(std::move(options)), adapters_(options_.adapters) {}

  absl::Status Init() {
    absl::StatusOr<language::Dtype> dtype = ParseDtype(options_.dtype);
    if (!dtype.ok()) return dtype.status();
    dtype_ = *dtype;
    absl::StatusOr<at::Device> device = OpenComputeDevice(options_.device);
    if (!device.ok()) return device.status();
    device_ = *device;
    if (options_.threads < 0 || options_.threads > 1024) {
      return absl::InvalidArgumentError(
          absl::StrCat("threads is ", options_.threads, "; it must be 0 (one for each core) to 1024"));
    }
    if (options_.threads > 0) at::set_num_threads(options_.threads);
    if (absl::Status status = AdapterStore::Check(options_.adapters); !status.ok()) return status;
    std::error_code error;
    if (!options_.models_folder.empty() && !fs::is_directory(options_.models_folder, error)) {
      return Missing("The models folder", options_.models_folder);
    }
    if (!options_.tokenizer.empty() && !fs::is_directory(options_.tokenizer, error)) {
      return absl::NotFoundError(absl::StrCat("the tokenizer's folder ", options_.tokenizer.string(),
                                              " is not there; --tokenizer names a folder with tokenizer.json"));
    }
    language_sees_ = SeesPictures(options_.language_model);
    if (options_.models_folder.empty()) options_.models_folder = FindBeside("models", models_looked_in_);
    if (options_.assets_folder.empty()) options_.assets_folder = FindBeside("assets", assets_looked_in_);
    return absl::OkStatus();
  }

  absl::StatusOr<LanguageRuntime*> Language() {
    return language_.Get([&]() -> absl::StatusOr<std::shared_ptr<LanguageRuntime>> {
      absl::StatusOr<fs::path> file = LanguageFile();
      if (!file.ok()) return file.status();
      absl::StatusOr<LoadedCheckpoint> loaded =
          LoadCheckpoint(*file, {.dtype = dtype_, .device = device_, .tokenizer = options_.tokenizer});
      if (!loaded.ok()) return loaded.status();
      auto runtime = std::make_shared<LanguageRuntime>(
          LanguageRuntime{std::move(loaded->language), std::move(loaded->pictures), nullptr});
      if (!options_.adapter.empty()) {
        const absl::Status status = adapters_.LoadDefault(options_.adapter, *runtime->loaded.model);
        if (!status.ok()) return status;
      }
      language::SchedulerOptions scheduler;
      scheduler.max_sequences = options_.max_sequences;
      scheduler.max_queued = options_.max_queued;
      scheduler.end_tokens = runtime->loaded.end_tokens;
      runtime->scheduler =
          std::make_unique<language::Scheduler>(*runtime->loaded.model, *runtime->loaded.tokenizer, scheduler);
      return runtime;
    });
  }

  absl::StatusOr<const language::TextEmbedder*> Embedder() {
    return embedder_.Get([&]() -> absl::StatusOr<std::shared_ptr<const language::TextEmbedder>> {
      absl::StatusOr<fs::path> folder = EmbedderFolder();
      if (!folder.ok()) return folder.status();
      const bool reference = dtype_ != language::Dtype::kAuto;
      return LoadTextEmbedder(*folder, device_,
                              reference ? language::EmbedderPrecision::kFp32 : language::EmbedderPrecision::kInt8);
    });
  }

  absl::StatusOr<const service::Reader*> Reader() {
    absl::StatusOr<const language::TextEmbedder*> embedder = Embedder();
    if (!embedder.ok()) return embedder.status();
    return reader_.Get([&]() -> absl::StatusOr<std::shared_ptr<const service::Reader>> {
      absl::StatusOr<fs::path> file = AssetFile("reader", kReaderFile);
      if (!file.ok()) return file.status();
      return service::Reader::Load(*file, **embedder);
    });
  }

  absl::StatusOr<std::shared_ptr<const language::Adapter>> AnswerAdapter() {
    if (!options_.language_model.empty() || !options_.adapter.empty()) return nullptr;
    absl::StatusOr<LanguageRuntime*> runtime = Language();
    if (!runtime.ok()) return runtime.status();
    std::lock_guard lock(answer_adapter_loading_);
    if (answer_adapter_ == nullptr) {
      absl::StatusOr<fs::path> file = AssetFile("answering adapter", kAnswerAdapterFile);
      if (!file.ok()) return file.status();
      auto adapter = ReadAdapter(file->parent_path(), *(*runtime)->loaded.model);
      if (!adapter.ok()) return adapter.status();
      answer_adapter_ = *std::move(adapter);
    }
    return answer_adapter_;
  }

  absl::StatusOr<AdapterInfo> LoadAdapter(const std::string& source, const std::string& name, bool replace) {
    return adapters_.Load(source, name, replace, [&]() -> absl::StatusOr<const language::LanguageModel*> {
      absl::StatusOr<LanguageRuntime*> runtime = Language();
      if (!runtime.ok()) return runtime.status();
      return (*runtime)->loaded.model.get();
    });
  }
  AdapterStore& adapters() { return adapters_; }

  absl::StatusOr<const VisionLanguageFamily*> Captioner() {
    absl::StatusOr<LanguageRuntime*> runtime = Language();
    if (!runtime.ok()) return runtime.status();
    if ((*runtime)->pictures != nullptr) return (*runtime)->pictures.get();
    return captioner_.Get([&]() -> absl::StatusOr<std::shared_ptr<const VisionLanguageFamily>> {
      absl::StatusOr<fs::path> file = CaptionerFile();
      if (!file.ok()) return file.status();
      absl::StatusOr<fs::path> folder = EncoderFolder();
      if (!folder.ok()) return folder.status();
      absl::StatusOr<std::shared_ptr<vision::ImageEncoder>> encoder = LoadImageEncoder(*folder);
      if (!encoder.ok()) return encoder.status();
      const LoadedLanguageModel& loaded = (*runtime)->loaded;
      absl::StatusOr<std::string> captioner_digest = FileSha256(*file);
      if (!captioner_digest.ok()) return captioner_digest.status();
      const absl::StatusOr<std::string> language_digest = loaded.digest.Get();
      if (!language_digest.ok()) return language_digest.status();
      captioner_digest_ = absl::StrCat("sha256:", *captioner_digest);
      auto family = LoadCaptionerFamily(*file, *encoder, *loaded.tokenizer, *loaded.model, *language_digest);
      if (absl::IsFailedPrecondition(family.status()) && !options_.language_model.empty())
        return NoPictures(family.status());
      return family;
    });
  }

  ModelInfo Info(ModelRole role) const {
    if (role == ModelRole::kCaptioner && language_sees_) {
      ModelInfo info = Info(ModelRole::kLanguage);
      info.role = role;
      return info;
    }
    ModelInfo info;
    info.role = role;
    info.sees_pictures = role == ModelRole::kCaptioner || (role == ModelRole::kLanguage && language_sees_);
    std::error_code error;
    if (role == ModelRole::kLanguage) {
      info.name = options_.language_model.empty() ? std::string(kLanguageFolder) : LanguageName();
      absl::StatusOr<fs::path> file = LanguageFile();
      info.present = file.ok() && fs::exists(*file, error);
      if (file.ok()) info.source = file->filename().string();
      if (const LanguageRuntime* runtime = language_.Peek(&info.error)) {
        const language::LanguageModelConfig& config = runtime->loaded.model->config();
        info.loaded = true;
        const absl::StatusOr<std::string> digest = runtime->loaded.digest.Get();
        if (digest.ok()) info.digest = *digest;
        if (!digest.ok()) info.error = std::string(digest.status().message());
        info.dtype = runtime->loaded.format;
        info.width = config.width;
        info.context_length = config.context_length;
        info.vocabulary_size = config.vocabulary_size;
      }
    } else if (role == ModelRole::kEmbedder) {
      info.name = info.source = kEmbedderFolder;
      info.present = ModelFolder("", kEmbedderFolder).ok();
      if (const language::TextEmbedder* embedder = embedder_.Peek(&info.error)) {
        info.loaded = true;
        info.digest = embedder->fingerprint();
        info.dtype = embedder->precision() == language::EmbedderPrecision::kInt8 ? "int8" : "fp32";
        info.width = embedder->dimension();
        info.context_length = embedder->max_tokens();
      }
    } else {
      info.name = kCaptionerName;
      info.source = fs::path(kCaptionerFile).filename().string();
      info.present = CaptionerFile().ok() && EncoderFolder().ok();
      if (captioner_.Peek(&info.error) != nullptr) {
        info.loaded = true;
        info.digest = captioner_digest_;
        info.dtype = "fp32";
        const ModelInfo language = Info(ModelRole::kLanguage);
        info.width = language.width;
        info.context_length = language.context_length;
        info.vocabulary_size = language.vocabulary_size;
      }
    }
    return info;
  }

  int64_t HeartbeatAgeMs() const {
    const LanguageRuntime* runtime = language_.Peek();
    return runtime == nullptr ? 0 : runtime->scheduler->heartbeat_age().count();
  }

  const ModelStoreOptions& options() const { return options_; }

  absl::StatusOr<fs::path> LanguageFile() const {
    if (!options_.language_model.empty()) return options_.language_model;  // the loader reports a missing one
    absl::StatusOr<fs::path> folder = ModelFolder("The language model", kLanguageFolder);
    if (!folder.ok()) return folder.status();
    if (absl::StatusOr<fs::path> file = FindGguf(*folder); file.ok() || !absl::IsNotFound(file.status())) return file;
    return Missing("The language model", *folder / "*.gguf");
  }

  absl::StatusOr<fs::path> EmbedderFolder() const { return ModelFolder("The embedder", kEmbedderFolder); }
  absl::StatusOr<fs::path> EncoderFolder() const { return ModelFolder("The image encoder", kEncoderFolder); }

 private:
  absl::StatusOr<fs::path> ModelFolder(absl::string_view what, std::string_view name) const {
    if (options_.models_folder.empty()) {
      return absl::NotFoundError(absl::StrCat(
          what, " was not found: there is no models folder (looked for ", absl::StrJoin(models_looked_in_, ", "),
          "). Run 'make setup' to fetch the models, or say where they are with --models DIR."));
    }
    const fs::path folder = options_.models_folder / name;
    std::error_code error;
    if (!fs::is_directory(folder, error)) return Missing(what, folder);
    return folder;
  }

  // Of options_.language_model, as its options say.
  std::string LanguageName() const {
    if (!options_.language_name.empty()) return options_.language_name;
    std::error_code error;
    const fs::path& path = options_.language_model;
    return fs::is_directory(path, error) ? fs::absolute(path / ".").parent_path().filename().string()
                                         : path.stem().string();
  }

  // Of a model of text that pictures were given to.
  absl::Status NoPictures(const absl::Status& why) const {
    return absl::FailedPreconditionError(
        absl::StrCat(Info(ModelRole::kLanguage).name, " is a model of text and sees no pictures: ", why.message(),
                     ". Leave out --model for the default captioner, or name a vision-language model (",
                     absl::StrJoin(VisionLanguageModelTypes(), ", "), " or nanoVLM)."));
  }

  // What was trained by this program and lies under assets/.
  absl::StatusOr<fs::path> AssetFile(absl::string_view what, std::string_view name) const {
    if (options_.assets_folder.empty()) {
      return absl::NotFoundError(
          absl::StrCat("The trained ", what, " was not found: there is no assets folder (looked for ",
                       absl::StrJoin(assets_looked_in_, ", "), "). It comes with the source tree."));
    }
    const fs::path file = options_.assets_folder / name;
    std::error_code error;
    if (fs::is_regular_file(file, error)) return file;
    return absl::NotFoundError(
        absl::StrCat("The trained ", what, " was not found: there is no ", file.string(),
                     ". It comes with the source tree; the README beside it tells how it is made."));
  }
  absl::StatusOr<fs::path> CaptionerFile() const { return AssetFile("captioner", kCaptionerFile); }

  ModelStoreOptions options_;
  AdapterStore adapters_;
  language::Dtype dtype_ = language::Dtype::kAuto;
  at::Device device_ = at::kCPU;
  std::vector<std::string> models_looked_in_, assets_looked_in_;
  bool language_sees_ = false;    // the language model is a vision-language one
  std::string captioner_digest_;  // written before captioner_ is published
  std::mutex answer_adapter_loading_;
  std::shared_ptr<const language::Adapter> answer_adapter_;
  Lazy<LanguageRuntime> language_;
  Lazy<const language::TextEmbedder> embedder_;
  Lazy<const service::Reader> reader_;          // declared after embedder_: goes first
  Lazy<const VisionLanguageFamily> captioner_;  // declared after language_: goes first
};

absl::StatusOr<std::unique_ptr<ModelStore>> ModelStore::Open(ModelStoreOptions options) {
  auto impl = std::make_unique<Impl>(std::move(options));
  if (absl::Status status = impl->Init(); !status.ok()) return status;
  return std::unique_ptr<ModelStore>(new ModelStore(std::move(impl)));
}

ModelStore::ModelStore(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
ModelStore::~ModelStore() = default;

absl::StatusOr<LanguageRuntime*> ModelStore::Language() { return impl_->Language(); }
absl::StatusOr<const language::TextEmbedder*> ModelStore::Embedder() { return impl_->Embedder(); }
absl::StatusOr<const VisionLanguageFamily*> ModelStore::Captioner() { return impl_->Captioner(); }

absl::StatusOr<std::shared_ptr<const language::Adapter>> ModelStore::AnswerAdapter() { return impl_->AnswerAdapter(); }
absl::StatusOr<AdapterInfo> ModelStore::LoadAdapter(const std::string& source, const std::string& name, bool replace) {
  return impl_->LoadAdapter(source, name, replace);
}
AdapterStore& ModelStore::adapters() { return impl_->adapters(); }
absl::StatusOr<const Reader*> ModelStore::ReaderModel() { return impl_->Reader(); }
absl::StatusOr<fs::path> ModelStore::EmbedderFolder() const { return impl_->EmbedderFolder(); }

absl::StatusOr<fs::path> ModelStore::LanguageModelFile() const { return impl_->LanguageFile(); }
absl::StatusOr<fs::path> ModelStore::ImageEncoderFolder() const { return impl_->EncoderFolder(); }

absl::StatusOr<retrieval::Embedder> ModelStore::CollectionEmbedder() {
  absl::StatusOr<const language::TextEmbedder*> loaded = Embedder();
  if (!loaded.ok()) return loaded.status();
  return service::CollectionEmbedder(**loaded);
}

ModelInfo ModelStore::Info(ModelRole role) const { return impl_->Info(role); }

std::vector<ModelInfo> ModelStore::List() const {
  std::vector<ModelInfo> models = {Info(ModelRole::kLanguage), Info(ModelRole::kEmbedder)};
  if (!models[0].sees_pictures) models.push_back(Info(ModelRole::kCaptioner));
  std::sort(models.begin(), models.end(), [](const ModelInfo& a, const ModelInfo& b) { return a.name < b.name; });
  return models;
}

absl::StatusOr<ModelInfo> ModelStore::Get(std::string_view name) const {
  std::vector<std::string> names;
  for (ModelInfo& info : List()) {
    if (info.name == name) return std::move(info);
    names.push_back(info.name);
  }
  return absl::NotFoundError(
      absl::StrCat("no model is called '", std::string(name), "'; there are ", absl::StrJoin(names, ", ")));
}

int64_t ModelStore::HeartbeatAgeMs() const { return impl_->HeartbeatAgeMs(); }
const ModelStoreOptions& ModelStore::options() const { return impl_->options(); }

}  // namespace blazon::service
