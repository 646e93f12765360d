// Ctrl-C and SIGTERM: the first ends the command cleanly, a second one ends the process at once.
#pragma once

namespace blazon::service::cli {

void WatchForInterrupt();
bool Interrupted();

}  // namespace blazon::service::cli
