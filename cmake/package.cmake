# A Debian package of what `cmake --install` puts under /usr, with units, settings and documents: cpack -G DEB in the
# build folder makes 1bit_VERSION_ARCHITECTURE.deb. With ONEBIT_PACKAGE_GPU, modules for GPUs are in it where they were built,
# and it then asks for the libraries of those GPUs.
option(ONEBIT_PACKAGE_GPU "Put the modules for GPUs into the Debian package" OFF)
set(packaging ${PROJECT_SOURCE_DIR}/packaging)
set(document_folder share/doc/1bit)
install(FILES ${packaging}/systemd/1bit-server.service ${packaging}/systemd/1bit-server.socket
  ${packaging}/systemd/1bit-landing.service DESTINATION /lib/systemd/system COMPONENT debian EXCLUDE_FROM_ALL)
# Keys may stand in them.
install(FILES ${packaging}/debian/server.env ${packaging}/debian/landing.env DESTINATION /etc/1bit
  PERMISSIONS OWNER_READ OWNER_WRITE COMPONENT debian EXCLUDE_FROM_ALL)
file(GLOB documents ${PROJECT_SOURCE_DIR}/docs/*.md)
install(FILES ${documents} ${PROJECT_SOURCE_DIR}/README.md ${packaging}/debian/copyright DESTINATION ${document_folder}
  COMPONENT debian EXCLUDE_FROM_ALL)
install(DIRECTORY ${PROJECT_SOURCE_DIR}/docs/decisions ${PROJECT_SOURCE_DIR}/docs/pages DESTINATION ${document_folder}
  COMPONENT debian EXCLUDE_FROM_ALL)
install(DIRECTORY ${packaging}/caddy ${packaging}/grafana ${packaging}/haproxy ${packaging}/kubernetes ${packaging}/prometheus
  DESTINATION ${document_folder}/examples COMPONENT debian EXCLUDE_FROM_ALL)
install(FILES ${packaging}/systemd/gpu.conf DESTINATION ${document_folder}/examples/systemd COMPONENT debian EXCLUDE_FROM_ALL)
# Debian has manual pages and the changelog compressed, without a time in them.
file(WRITE ${CMAKE_CURRENT_BINARY_DIR}/changelog "1bit (${PROJECT_VERSION}) unstable; urgency=medium\n\n  * See the project's history.\n\n -- the 1bit authors <maintainers@1bit.invalid>  Thu, 01 Jan 2026 00:00:00 +0000\n")
install(CODE "set(changelog \"${CMAKE_CURRENT_BINARY_DIR}/changelog\")" COMPONENT debian EXCLUDE_FROM_ALL)
install(CODE [[
  set(share "$ENV{DESTDIR}${CMAKE_INSTALL_PREFIX}/share")
  file(COPY_FILE "${changelog}" "${share}/doc/1bit/changelog")
  file(GLOB plain "${share}/man/man1/*.1")
  execute_process(COMMAND gzip -9nf ${plain} "${share}/doc/1bit/changelog" COMMAND_ERROR_IS_FATAL ANY)
]] COMPONENT debian EXCLUDE_FROM_ALL)

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME 1bit)
set(CPACK_PACKAGE_VENDOR "the 1bit authors")
set(CPACK_PACKAGE_CONTACT "the 1bit authors <maintainers@1bit.invalid>")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "local stack for ternary language models")
set(CPACK_PACKAGE_DESCRIPTION "Command line (halo), OpenAI-compatible server (1bit-server) and live page (1bit-landing)
for ternary (BitNet b1.58) language models, with a bundled model that answers at once.")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
# `cmake --install` writes nothing outside its prefix: what a package has beside that is a component of its own.
set(CPACK_INSTALL_CMAKE_PROJECTS)
set(components Unspecified debian)
if(ONEBIT_PACKAGE_GPU)
  list(APPEND components gpu)
endif()
foreach(component ${components})
  list(APPEND CPACK_INSTALL_CMAKE_PROJECTS ${PROJECT_BINARY_DIR} ${PROJECT_NAME} ${component} /)
endforeach()
set(CPACK_STRIP_FILES ON)
set(CPACK_INSTALL_DEFAULT_DIRECTORY_PERMISSIONS OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE WORLD_READ
  WORLD_EXECUTE)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION science)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_GENERATE_SHLIBS OFF)
set(CPACK_DEBIAN_PACKAGE_DEPENDS "init-system-helpers (>= 1.54)")
if(POCKETSPHINX_FOUND)
  set(CPACK_DEBIAN_PACKAGE_RECOMMENDS "pocketsphinx-en-us")
endif()
set(CPACK_DEBIAN_PACKAGE_SUGGESTS "caddy, haproxy, prometheus, openmpi-bin")
set(CPACK_DEBIAN_PACKAGE_CONTROL_EXTRA ${packaging}/debian/postinst ${packaging}/debian/prerm ${packaging}/debian/postrm
  ${packaging}/debian/conffiles)
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
include(CPack)
