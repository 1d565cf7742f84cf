#include "server/server_config.h"

#include <CLI/CLI.hpp>
#include <fstream>
#include <map>
#include <sstream>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "server/server_flags.h"

namespace chela {
namespace {

#ifndef CHELA_VERSION
#error "the build defines CHELA_VERSION"
#endif

constexpr char kFooter[] =
    "Every flag is also a variable (--max-waiting: CHELA_MAX_WAITING) and a\n"
    "key of the --config file; a flag beats a variable beats the file.\n"
    "Exit codes: 0 drained, 1 configuration, model, port or device, 2 usage,\n"
    "3 second signal.";

// A value that did not come from the command line, and where it did.
struct Setting {
  std::string value;
  std::string source;  // "CHELA_THREADS", "server.toml"
};

struct Parsing {
  Parsing() : app("Serves a CHELA model by gRPC.", "chela-server") {
    app.set_version_flag("--version", "chela-server " CHELA_VERSION);
    app.footer(kFooter);
    AddServerFlags(app, config, file);
  }
  // CLI11 wants the arguments in reverse order.
  void Parse(const std::vector<std::string>& arguments) {
    app.parse(std::vector<std::string>(arguments.rbegin(), arguments.rend()));
  }

  ServerConfig config;
  std::string file;
  CLI::App app;
};

ParsedConfig Failed(int exit_code, const std::string& error) {
  ParsedConfig failed;
  failed.exit_code = exit_code;
  failed.error = absl::StrCat("chela-server: ", error, "\n");
  return failed;
}

// The flags that variables and files may set.
std::vector<std::string> Keys(const CLI::App& app) {
  std::vector<std::string> keys;
  for (const CLI::Option* option : app.get_options()) {
    const std::string name = option->get_single_name();
    if (name != "help" && name != "version") keys.push_back(name);
  }
  return keys;
}

absl::Status ReadFile(const std::string& path, const CLI::App& app,
                      std::map<std::string, Setting>& settings) {
  std::ifstream stream(path);
  if (!stream) {
    return absl::NotFoundError(
        absl::StrCat("--config: cannot read \"", path, "\""));
  }
  std::vector<CLI::ConfigItem> items;
  try {
    items = CLI::ConfigTOML().from_config(stream);
  } catch (const CLI::Error& error) {
    return absl::InvalidArgumentError(
        absl::StrCat("--config ", path, ": ", error.what()));
  }
  for (const CLI::ConfigItem& item : items) {
    if (item.name == "++" || item.name == "--") continue;  // a section's ends
    const std::string key = item.fullname();
    const CLI::Option* option = app.get_option_no_throw("--" + key);
    if (option == nullptr || key == "help" || key == "version" ||
        key == "config") {
      return absl::InvalidArgumentError(absl::StrCat(
          "--config ", path, ": unknown key \"", key,
          "\"; want a flag's name without dashes in front (see --help)"));
    }
    if (item.inputs.size() != 1) {
      return absl::InvalidArgumentError(
          absl::StrCat("--config ", path, ": ", key, " has ",
                       item.inputs.size(), " values; want 1"));
    }
    settings.try_emplace(key, Setting{item.inputs[0], path});
  }
  return absl::OkStatus();
}

// The values that variables and the file give to flags that were not used.
absl::StatusOr<std::map<std::string, Setting>> Settings(
    const Parsing& flags,
    const std::function<const char*(const std::string&)>& variable) {
  std::map<std::string, Setting> settings;
  for (const std::string& key : Keys(flags.app)) {
    const std::string name = VariableName(key);
    const char* value = variable(name);
    if (value != nullptr && *value != '\0') settings[key] = {value, name};
  }
  std::string file = flags.file;
  if (file.empty() && settings.count("config") > 0) {
    file = settings["config"].value;
  }
  settings.erase("config");
  if (!file.empty()) {
    if (const absl::Status status = ReadFile(file, flags.app, settings);
        !status.ok()) {
      return status;
    }
  }
  for (const std::string& key : Keys(flags.app)) {
    if (flags.app.count("--" + key) > 0) settings.erase(key);
  }
  return settings;
}

absl::Status CheckExposure(const ServerConfig& config) {
  if (config.insecure) return absl::OkStatus();
  for (const auto& [flag, address] :
       {std::pair("--listen", config.listen),
        std::pair("--metrics-listen", config.metrics_listen)}) {
    if (address.IsLoopback()) continue;
    return absl::FailedPreconditionError(absl::StrCat(
        flag, ": ", address.ToString(),
        " can be reached from other machines, and this server checks nobody; "
        "want a loopback address, or --insecure to accept that"));
  }
  return absl::OkStatus();
}

// Where an error of the second parsing came from, by the flag it names:
// "--threads: ..." of our checks, "... --insecure = maybe" of CLI11's.
std::string Source(const std::string& error,
                   const std::map<std::string, Setting>& settings) {
  for (const auto& [key, setting] : settings) {
    const std::string flag = absl::StrCat("--", key);
    if (absl::StrCat(error, ":").find(flag + ":") != std::string::npos) {
      return absl::StrCat(" (from ", setting.source, ")");
    }
    if (error.find(flag + " = ") != std::string::npos) {
      return absl::StrCat("; want true or false (from ", setting.source, ")");
    }
  }
  return "";
}

}  // namespace

ParsedConfig ParseServerConfig(
    const std::vector<std::string>& arguments,
    const std::function<const char*(const std::string&)>& variable) {
  Parsing flags;
  try {
    flags.Parse(arguments);
  } catch (const CLI::ParseError& error) {
    std::ostringstream output, complaint;
    if (flags.app.exit(error, output, complaint) == 0) {
      ParsedConfig help;
      help.output = output.str();
      return help;
    }
    return Failed(2, absl::StrCat(error.what(), "; see --help"));
  }
  const absl::StatusOr<std::map<std::string, Setting>> settings =
      Settings(flags, variable);
  if (!settings.ok())
    return Failed(1, std::string(settings.status().message()));

  std::vector<std::string> all = arguments;
  for (const auto& [key, setting] : *settings) {
    all.push_back(absl::StrCat("--", key, "=", setting.value));
  }
  Parsing everything;
  try {
    everything.Parse(all);
  } catch (const CLI::ParseError& error) {
    return Failed(1,
                  absl::StrCat(error.what(), Source(error.what(), *settings)));
  }
  if (const absl::Status status = CheckExposure(everything.config);
      !status.ok()) {
    return Failed(1, std::string(status.message()));
  }
  ParsedConfig parsed;
  parsed.config = everything.config;
  return parsed;
}

absl::StatusOr<std::chrono::milliseconds> ParseDuration(
    const std::string& text) {
  const size_t digits = text.find_first_not_of("0123456789");
  int64_t count = 0;
  int64_t unit_ms = 0;
  if (digits != std::string::npos && digits > 0 && digits <= 9 &&
      absl::SimpleAtoi(text.substr(0, digits), &count)) {
    const std::string unit = text.substr(digits);
    unit_ms = unit == "ms"  ? 1
              : unit == "s" ? 1000
              : unit == "m" ? 60000
              : unit == "h" ? 3600000
                            : 0;
  }
  if (unit_ms == 0 || count * unit_ms > int64_t{365} * 86400 * 1000) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", text,
                     "\"; want a duration of at most 365 days, like 500ms, "
                     "30s, 5m or 24h"));
  }
  return std::chrono::milliseconds(count * unit_ms);
}

}  // namespace chela
