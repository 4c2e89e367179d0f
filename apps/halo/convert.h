// What `halo convert` and `halo pull` share.
#pragma once

#include <CLI/App.hpp>
#include <string>

#include "base/result.h"
#include "format/import/convert.h"

namespace onebit::halo {

struct ConvertArguments {
  ConvertOptions options;
  std::string packing = "t1_6";
  std::string head = "q8";
  std::string chat_layout;
  bool json = false;

  /// --packing, --force, --head, --chat-layout, --licence.
  void add_to(CLI::App& command);
};

/// Reads what the options say into `arguments.options`: errors that need not wait for a source.
Status resolve(ConvertArguments& arguments);

/// After resolve(): converts `arguments.options.folder`, with a progress bar, and prints what came of it.
Status convert(ConvertArguments& arguments);

}  // namespace onebit::halo
