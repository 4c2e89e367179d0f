// In the place of the system's look-up of names, linked into a test or preloaded into a program: N.seconds.test takes N
// seconds, and is this machine then. Other names are looked up as ever.
#include <dlfcn.h>
#include <netdb.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>

extern "C" int getaddrinfo(const char* name, const char* service, const addrinfo* hints, addrinfo** result) {
  using Lookup = int (*)(const char*, const char*, const addrinfo*, addrinfo**);
  static const auto next = reinterpret_cast<Lookup>(::dlsym(RTLD_NEXT, "getaddrinfo"));
  if (name != nullptr && std::strstr(name, ".seconds.test") != nullptr) {
    for (unsigned left = static_cast<unsigned>(std::atoi(name)); left > 0;) left = ::sleep(left);
    name = "127.0.0.1";
  }
  return next(name, service, hints, result);
}
