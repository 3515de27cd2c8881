# Shared by the scripts here: source it.

# newest_glibc DIRECTORY: the newest version of the C library, as in 2.30, that a program or library in it asks for.
newest_glibc() {
    find "$1" -type f \( -name '*.so*' -o -perm -100 \) -exec readelf --version-info --wide {} + 2>/dev/null |
        grep -o 'GLIBC_[0-9.]*' | sort -uV | tail -n 1 | cut -d_ -f2
}
