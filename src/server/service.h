// A model that is loaded, and everything that serves it.
#pragma once

#include <memory>
#include <string>

#include "engine/engine_loop.h"
#include "engine/model.h"
#include "server/api_request.h"
#include "server/model_facts.h"
#include "server/server.h"

namespace onebit::server {

struct Service {
  Service(Model loaded, std::string name, const ServerOptions& options);

  Model model;
  const std::string name;
  grammar::GrammarCache grammars;
  ApiContext api;
  EngineLoop engine;  // the last, and the first to go
};

}  // namespace onebit::server
