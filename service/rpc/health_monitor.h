// Keeps grpc.health.v1 true: each service is SERVING while the models it needs are loaded and the scheduler is alive.
#pragma once

#include <grpcpp/health_check_service_interface.h>

#include <condition_variable>
#include <mutex>
#include <thread>

#include "service/rpc/runtime.h"

namespace blazon::service::rpc {

// Looks every 200 ms; also loads the models at the start when the options say so, and cancels streams that have
// stalled.
// Names: "" is the whole server; the services go by "blazon.v1.CaptionService" and so on.
class HealthMonitor {
 public:
  HealthMonitor(grpc::HealthCheckServiceInterface& health, Runtime& runtime);
  ~HealthMonitor();  // waits for a load that is under way

  // From now on everything is NOT_SERVING.
  void ShutDown();

 private:
  void Watch();
  void Preload();
  void Update();

  grpc::HealthCheckServiceInterface& health_;
  Runtime& runtime_;
  std::mutex mutex_;
  std::condition_variable wake_;
  bool stopping_ = false;
  std::thread watcher_;
  std::thread loader_;
};

}  // namespace blazon::service::rpc
