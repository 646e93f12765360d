#include "service/cli/interrupt.h"

#include <csignal>

namespace blazon::service::cli {
namespace {

volatile std::sig_atomic_t interrupted = 0;

void Note(int) { interrupted = 1; }

}  // namespace

void WatchForInterrupt() {
  struct sigaction action = {};
  action.sa_handler = Note;
  action.sa_flags = SA_RESETHAND;  // the second one acts as if it were not watched
  sigemptyset(&action.sa_mask);
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
}

bool Interrupted() { return interrupted != 0; }

void ResetInterrupt() {
  interrupted = 0;
  WatchForInterrupt();
}

}  // namespace blazon::service::cli
