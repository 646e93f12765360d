#include "service/rpc/health_monitor.h"

#include <chrono>

namespace blazon::service::rpc {
namespace {

constexpr std::chrono::milliseconds kPeriod(200);

}  // namespace

HealthMonitor::HealthMonitor(grpc::HealthCheckServiceInterface& health, Runtime& runtime)
    : health_(health), runtime_(runtime) {
  Update();
  watcher_ = std::thread([this] { Watch(); });
  if (runtime_.options().preload) loader_ = std::thread([this] { Preload(); });
}

HealthMonitor::~HealthMonitor() {
  ShutDown();
  watcher_.join();
  if (loader_.joinable()) loader_.join();
}

void HealthMonitor::ShutDown() {
  {
    std::lock_guard lock(mutex_);
    if (stopping_) return;
    stopping_ = true;
    health_.Shutdown();
  }
  wake_.notify_all();
}

void HealthMonitor::Watch() {
  std::unique_lock lock(mutex_);
  while (!wake_.wait_for(lock, kPeriod, [this] { return stopping_; })) {
    Update();
    runtime_.CheckProgress();
  }
  // Streams that stall while the server drains are cancelled when the grace is over.
}

void HealthMonitor::Preload() {
  // What fails is told by ModelService, and by the first request that needs it.
  const auto stopping = [this] {
    std::lock_guard lock(mutex_);
    return stopping_;
  };
  if (!stopping()) (void)runtime_.models().Language();
  if (!stopping()) (void)runtime_.models().Embedder();
  if (!stopping()) (void)runtime_.models().Captioner();
}

void HealthMonitor::Update() {
  ModelStore& models = runtime_.models();
  const bool alive = models.HeartbeatAgeMs() <= runtime_.options().heartbeat_limit.count();
  const bool language = alive && models.Info(ModelRole::kLanguage).loaded;
  const bool embedder = models.Info(ModelRole::kEmbedder).loaded;
  const bool captioner = language && models.Info(ModelRole::kCaptioner).loaded;
  bool all = language;
  for (const ModelInfo& model : models.List()) all = all && (model.loaded || !model.present);
  health_.SetServingStatus("", all);
  health_.SetServingStatus("blazon.v1.CaptionService", captioner);
  health_.SetServingStatus("blazon.v1.AnswerService", language && embedder);
  health_.SetServingStatus("blazon.v1.GenerationService", language);
  health_.SetServingStatus("blazon.v1.IndexService", embedder);
  health_.SetServingStatus("blazon.v1.ModelService", true);
}

}  // namespace blazon::service::rpc
