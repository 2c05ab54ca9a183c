#!/bin/sh
# A first corpus for each target, from the golden files and a few lines of text.
set -eu
cd "$(dirname "$0")"
golden=../tests/golden
for target in adac_forte modular_camera parallel_screens text_lines chunks any_format tables; do
    mkdir -p "corpus/$target"
done
for file in "$golden"/adac_0.da01 "$golden"/adac_1.da02; do
    for target in adac_forte any_format; do
        head -c 4000 "$file" >"corpus/$target/$(basename "$file")"
    done
done
# A modular camera's file: 1000 bytes, a flag, a word, and words (the golden file has 8 bytes for each).
{
    head -c 1000 /dev/zero
    printf '\316\372\316\372\0\0\0\0'
    tail -c +129 "$golden/modular_words__words.npy" | od -An -v -t u4 -w8 | head -n 500 | while read -r word _; do
        # shellcheck disable=SC2059 # the format is the bytes
        printf "$(printf '\\%03o\\%03o\\%03o\\%03o' $((word & 255)) $((word >> 8 & 255)) $((word >> 16 & 255)) $((word >> 24 & 255)))"
    done
} >corpus/modular_camera/golden
cp corpus/modular_camera/golden corpus/any_format/modular
for target in parallel_screens any_format; do
    printf 'A header\nSeparation= 712\n0.5\t1,2, 3 4\r\n\n1e3 -1 2 3 4.5\nend\n7\n' >"corpus/$target/screens"
done
for target in text_lines any_format; do
    printf '# t x1 y1 z1 x2 y2 z2 a\n0.5 1 2 3 4 5 6 7\n1.000000000000000000e+00 1 2 3 4 5 6 nan\n' >"corpus/$target/blanks"
    printf '\357\273\277t;x1;y1;z1;x2;y2;z2;"a;b"\r\n0;1;2;3;4;5;6;\r\n' >"corpus/$target/semicolons"
    printf 't,x1,y1,z1,x2,y2,z2\n0,1,2,3,4,5,6\n' | gzip -n >"corpus/$target/packed"
done
for table in blanks semicolons packed; do
    {
        printf '\2\0\377' # two rows a chunk, nothing skipped, no limit
        cat "corpus/text_lines/$table"
    } >"corpus/chunks/$table"
done
printf '\0t,x,y,z\n1,2,3,4\n' >corpus/tables/csv
{
    printf '\1'
    cat "$golden/centroids__points.npy"
} >corpus/tables/npy
